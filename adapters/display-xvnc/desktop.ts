import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Program } from '#core/broker/display.ts'

const source = fileURLToPath(new URL('desktop', import.meta.url))

/**
 * Copies the desktop's configuration to where every person may read it and none may write, for our own
 * folder may be closed to them. Rewrites what is there, so that an update of the agent brings its own.
 */
export async function installDesktop(target: string): Promise<void> {
  for (const entry of await readdir(source, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const from = join(entry.parentPath, entry.name)
    const to = join(target, relative(source, from))
    await mkdir(dirname(to), { recursive: true })
    await chmod(dirname(to), 0o755)
    await writeFile(to, (await readFile(from, 'utf8')).replaceAll('@DIR@', target))
    await chmod(to, 0o644)
  }
}

/** The argv that runs a program on a display. It makes the file `ready` when the window manager runs. */
export function sessionCommand(desktop: string, ready: string, program: Program): readonly string[] {
  const command = program.kind === 'application' ? program.command : []
  return ['sh', join(desktop, 'session'), desktop, ready, program.kind, ...command]
}
