import { join } from 'node:path'
import type { Collector } from '#core/evidence/observation.ts'
import {
  type AccountFacts,
  type DesktopLock,
  gnomeLockOf,
  gnomeSettings,
  judgeLocalAdmin,
  judgeScreenLock,
  knownLockers,
  nameOf,
  type PostureLimits,
  parseGroupNames,
  parseSessionIds,
  sittingPerson,
  type WatchingCollector,
} from '#core/posture/index.ts'
import { readProcesses } from './processes.ts'
import { type RunOptions, runCommand } from './run-command.ts'
import { watchFiles } from './watched.ts'

/** @returns accounts of those who sit at this machine */
export type People = (signal: AbortSignal) => Promise<readonly number[]>

/** Whom logind knows to sit here; on a machine without it whoever started us, unless that is the system. */
export async function peopleHere(signal: AbortSignal): Promise<readonly number[]> {
  const listed = await runCommand(['loginctl', 'list-sessions', '--no-legend'], signal)
  const sessions = await Promise.all(
    parseSessionIds(listed.status === 0 ? listed.stdout : '').map(async (id) =>
      runCommand(['loginctl', 'show-session', id], signal),
    ),
  )
  const sitting = sessions.map(({ stdout }) => sittingPerson(stdout)).filter((uid) => uid !== undefined)
  if (sitting.length > 0) return [...new Set(sitting)]
  const own = process.getuid?.() === 0 ? process.env['SUDO_UID'] : process.getuid?.()
  const uid = Number(own)
  return own === undefined || !Number.isSafeInteger(uid) ? [] : [uid]
}

/** @param etc `/etc` */
export function accountsCollector(people: People, etc: string): WatchingCollector {
  return {
    name: 'accounts',
    claims: ['endpoint.localAdmin'],
    collect: async (signal) => {
      const accounts = await Promise.all(
        (await people(signal)).map(async (uid): Promise<AccountFacts> => {
          const { stdout } = await runCommand(['id', '-Gnz', String(uid)], signal)
          return { uid, groups: parseGroupNames(stdout) }
        }),
      )
      return [judgeLocalAdmin(accounts)]
    },
    watch: (changed, signal) => watchFiles([join(etc, 'group'), join(etc, 'passwd')], changed, signal),
  }
}

/** Asks GNOME's settings as the person; elsewhere looks for programs of theirs that lock the screen. */
export function screenLockCollector(people: People, proc: string, limits: PostureLimits): Collector {
  return {
    name: 'screen-lock',
    claims: ['endpoint.screenLock'],
    collect: async (signal) => {
      const uids = await people(signal)
      const processes = uids.length === 0 ? [] : readProcesses(proc)
      const desktops = await Promise.all(
        uids.map(async (uid): Promise<DesktopLock> => {
          const names = processes.filter((one) => one.uid === uid).map(nameOf)
          const lockers = knownLockers.filter((name) => names.includes(name))
          return { lockers, gnome: names.includes('gnome-shell') ? await gnomeLock(uid, signal) : undefined }
        }),
      )
      return [judgeScreenLock(desktops, limits.lockAfterSec)]
    },
  }
}

/** gsettings(1) reads what the person's own programs read: as them, from their home. */
async function gnomeLock(uid: number, signal: AbortSignal): Promise<DesktopLock['gnome']> {
  const { stdout } = await runCommand(['getent', 'passwd', String(uid)], signal)
  const [, , , gid, , home] = stdout.trim().split(':')
  if (home === undefined) return undefined
  const options: RunOptions = {
    environment: { HOME: home, XDG_RUNTIME_DIR: `/run/user/${uid}` },
    ...(process.getuid?.() === uid ? {} : { as: { uid, gid: Number(gid) } }),
  }
  const read = async ([schema, key]: readonly [string, string]): Promise<string> =>
    (await runCommand(['gsettings', 'get', schema, key], signal, options)).stdout
  return gnomeLockOf({
    isLocking: await read(gnomeSettings.isLocking),
    isForbidden: await read(gnomeSettings.isForbidden),
    idleSec: await read(gnomeSettings.idleSec),
    delaySec: await read(gnomeSettings.delaySec),
  })
}
