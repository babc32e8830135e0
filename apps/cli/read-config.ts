import type { z } from 'zod'
import { parseConfig } from '#core/config/parse-config.ts'
import { usage } from './cli-error.ts'
import type { Parsed } from './command.ts'
import { readText } from './read-text.ts'

/** Of a command that runs from a configuration file. */
export const configOption = { config: { type: 'string' } } as const

export async function readConfig<T>(words: Parsed, schema: z.ZodType<T>): Promise<T> {
  const file = words.text('config')
  if (file === undefined) throw usage('--config is missing')
  return parseConfig(await readText(file), schema, file)
}
