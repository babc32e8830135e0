import { link, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { PostgresError } from './postgres-error.ts'
import { findRun, isRunning, type ProcessRun } from './process-table.ts'

/**
 * Makes this process the only supervisor of a state directory; a supervisor that died leaves nothing that hinders.
 *
 * @returns the release
 * @throws {PostgresError} POSTGRES_IN_USE
 */
export async function lockSupervision(path: string): Promise<() => Promise<void>> {
  const me = await findRun(process.pid)
  const mine = `${path}.${process.pid}`
  await writeFile(mine, JSON.stringify(me), { mode: 0o600 })
  try {
    if (!(await take(mine, path))) {
      await refuseWhileAlive(path)
      await setAside(path, `${mine}.stale`)
      if (!(await take(mine, path))) await refuseWhileAlive(path)
    }
  } finally {
    await rm(mine, { force: true })
  }
  return () => rm(path, { force: true })
}

/** A link appears with its content or not at all, unlike a file that is created and then written. */
async function take(mine: string, path: string): Promise<boolean> {
  return link(mine, path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return false
      throw error
    },
  )
}

/** Between look and removal another may have taken the stale lock: what was set aside is looked at again. */
async function setAside(path: string, aside: string): Promise<void> {
  await rename(path, aside).catch(() => undefined)
  try {
    await refuseWhileAlive(aside)
  } catch (error) {
    await take(aside, path)
    throw error
  } finally {
    await rm(aside, { force: true })
  }
}

async function refuseWhileAlive(path: string): Promise<void> {
  const holder = parseRun(await readFile(path, 'utf8').catch(() => ''))
  if (holder === undefined || !(await isRunning(holder))) return
  throw new PostgresError(
    'POSTGRES_IN_USE',
    `process ${holder.pid} already runs the database of this state directory`,
    {
      remedy: 'Stop it first, or give this site a state directory of its own with --state.',
    },
  )
}

function parseRun(text: string): ProcessRun | undefined {
  const [, pid, startTicks] = /^\{"pid":([0-9]{1,10}),"startTicks":"([0-9]{1,20})"\}$/.exec(text) ?? []
  return pid === undefined || startTicks === undefined ? undefined : { pid: Number(pid), startTicks }
}
