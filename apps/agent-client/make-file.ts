import { randomUUID } from 'node:crypto'
import { link, open, rm, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'

/**
 * Makes a file, whole or not at all; one that is there stays: of several that make it at once all use the first. When it resolves, what is
 * there outlives a loss of power.
 */
export async function makeFile(path: string, text: string): Promise<void> {
  const own = `${path}.${randomUUID()}.partial`
  try {
    await writeFile(own, text, { mode: 0o600, flag: 'wx', flush: true })
    // Unlike a file that is created and then written, a link appears with its content.
    await link(own, path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  } finally {
    await rm(own, { force: true })
  }
  await using folder = await open(dirname(path))
  await folder.sync()
}
