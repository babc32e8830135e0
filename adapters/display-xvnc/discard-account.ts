import { lstat, open, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DisplayError } from '#core/broker/display.ts'
import { parseMountInfo } from '#core/posture/index.ts'
import { removeAccount } from './account.ts'

/**
 * Removes an account with its home, and nothing that only seems to be in it: not where a link leads, nor what is mounted there. Goes on where
 * it was interrupted; a home without an account, as after its machine was installed anew, goes, too.
 *
 * @throws {DisplayError} DISPLAY_ACCOUNT_FOREIGN, DISPLAY_ACCOUNT_FAILED
 */
export async function discardAccount(name: string, homesDir: string): Promise<void> {
  const home = join(homesDir, name)
  const found = await lstat(home).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (found?.isDirectory() === false)
    throw unfit(`expected a directory at ${home}`, 'Remove it there by hand.')
  const inside = parseMountInfo(await readFile('/proc/self/mountinfo', 'utf8')).find(
    ({ mountPoint }) => mountPoint === home || mountPoint.startsWith(`${home}/`),
  )?.mountPoint
  if (inside !== undefined) throw unfit(`something is mounted at ${inside}`, `Run: umount '${inside}'`)
  await removeAccount(name, homesDir)
  await rm(home, { recursive: true, force: true })
  await using folder = await open(homesDir)
  await folder.sync()
}

function unfit(message: string, remedy: string): DisplayError {
  return new DisplayError('DISPLAY_ACCOUNT_FAILED', message, { remedy })
}
