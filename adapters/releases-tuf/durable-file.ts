import { randomUUID } from 'node:crypto'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Writes a file so that a crash leaves the old one or the new one, and the new one stays once this has returned. */
export async function writeDurably(path: string, bytes: Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const partial = `${path}.${randomUUID()}.partial`
  try {
    {
      await using file = await open(partial, 'wx', 0o600)
      await file.writeFile(bytes)
      await file.sync()
    }
    await rename(partial, path)
  } catch (error) {
    // On a device that is full each try would leave one.
    await rm(partial, { force: true })
    throw error
  }
  await syncDirectory(dirname(path))
}

/** Makes names in a folder durable: what was created or renamed is still there after a crash. */
export async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path)
  await directory.sync()
}
