import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

export interface Account {
  readonly uid: number
  readonly gid: number
}

/** Two accounts that every Debian has. */
export const games: Account = { uid: 5, gid: 60 }
export const nobody: Account = { uid: 65534, gid: 65534 }

/**
 * Calls an exported function of a module of this folder in a process of another account: whom the kernel says a connection is of.
 *
 * @param args and what it returns pass as JSON
 */
export async function callAs(
  { uid, gid }: Account,
  module: string,
  name: string,
  args: readonly unknown[],
): Promise<unknown> {
  const script = `
    import { ${name} } from ${JSON.stringify(join(import.meta.dirname, module))}
    console.log(JSON.stringify(await ${name}(...${JSON.stringify(args)})))
    process.exit()`
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], {
    uid,
    gid,
    // Where the names of this project's modules are known.
    cwd: join(import.meta.dirname, '..'),
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  child.stdout.on('data', (part) => (text += String(part)))
  await once(child, 'close')
  return JSON.parse(text) as unknown
}
