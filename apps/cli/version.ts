import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** The version of this tree, as package.json has it. */
export function version(): string {
  const { version: found } = JSON.parse(
    readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8'),
  ) as { version: string }
  return found
}
