import { uptime } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import type { Observation } from '#core/evidence/observation.ts'
import {
  countAptSecurity,
  countDnfSecurity,
  judgeUpdates,
  lastAptUpgrade,
  lastDpkgUpgrade,
  lastRpmInstall,
  latest,
  type PostureLimits,
  parseOsRelease,
  type UpdateFacts,
  type WatchingCollector,
} from '#core/posture/index.ts'
import { exists } from './firmware.ts'
import { namesIn, readBytes, readText, writtenAt } from './read-bounded.ts'
import { runCommand } from './run-command.ts'
import { watchFiles } from './watched.ts'

export interface UpdateOptions {
  /** `/` */
  readonly root: string
  readonly limits: PostureLimits
  /** Unix time, ms. */
  readonly now: () => number
}

type Facts = Pick<UpdateFacts, 'upgradedAt' | 'checkedAt' | 'waiting'>

/** What waits is asked for again after so long although nothing seems to have changed. */
const askAgainMs = 6 * 60 * 60 * 1000
const logBytes = 512 * 1024
const unpack = promisify(gunzip)

/** Looks for security updates that wait: apt on Debian and Ubuntu, dnf on Fedora and Red Hat. Nothing is fetched. */
export function updatesCollector({ root, limits, now }: UpdateOptions): WatchingCollector {
  const dpkgStatus = join(root, 'var/lib/dpkg/status')
  let noneWaitedBefore = false
  /** By a clock that nobody sets: that of a machine may be set long after its start. */
  let waitingSinceSec: number | undefined
  const judged = (facts: UpdateFacts, collector: string): readonly Observation[] => {
    // Who could not tell has not seen that none waits.
    if (facts.waiting !== undefined)
      waitingSinceSec = facts.waiting > 0 ? (waitingSinceSec ?? uptime()) : undefined
    noneWaitedBefore ||= facts.waiting === 0
    const waitingSince =
      waitingSinceSec === undefined ? undefined : now() - (uptime() - waitingSinceSec) * 1000
    return [judgeUpdates({ ...facts, waitingSince, noneWaitedBefore }, limits, now(), collector)]
  }
  const askApt = remembered(async (signal) => waitingByApt(root, signal), now)
  const askDnf = remembered(waitingByDnf, now)
  return {
    name: 'updates',
    claims: ['endpoint.osUpdates'],
    collect: async (signal) => {
      const release =
        (await readText(join(root, 'etc/os-release'))) ?? (await readText(join(root, 'usr/lib/os-release')))
      const system = parseOsRelease(release ?? '')
      if (await exists(dpkgStatus))
        return judged({ ...system, ...(await aptFacts(root, askApt, signal)) }, 'apt')
      if (await exists(join(root, 'usr/bin/dnf')))
        return judged({ ...system, ...(await dnfFacts(root, askDnf, signal)) }, 'dnf')
      return judged(system, 'updates')
    },
    watch: (changed, signal) => watchFiles([dpkgStatus], changed, signal),
  }
}

type Ask = (key: string, signal: AbortSignal) => Promise<number | undefined>

/** Solving dependencies takes a second of a core: it is done again when what it is made from has changed, or when it failed. */
function remembered(ask: (signal: AbortSignal) => Promise<number | undefined>, now: () => number): Ask {
  let last: { readonly key: string; readonly at: number; readonly answer: number } | undefined
  return async (key, signal) => {
    if (last?.key === key && now() - last.at <= askAgainMs && now() >= last.at) return last.answer
    const answer = await ask(signal)
    last = answer === undefined ? undefined : { key, at: now(), answer }
    return answer
  }
}

async function aptFacts(root: string, ask: Ask, signal: AbortSignal): Promise<Facts> {
  const times = await Promise.all(
    // apt dates the lists themselves by their servers: when somebody looked is seen at the folders and at the stamp of the daily run.
    ['apt/lists/partial', 'apt/lists', 'apt/periodic/update-success-stamp', 'dpkg/status'].map(async (name) =>
      writtenAt(join(root, 'var/lib', name)),
    ),
  )
  return {
    checkedAt: times.slice(0, 3).reduce(latest, undefined),
    upgradedAt: await lastUpgrade(join(root, 'var/log')),
    waiting: await ask(times.join(), signal),
  }
}

/** @returns undefined also where no archive of security updates is known: none could wait there */
async function waitingByApt(root: string, signal: AbortSignal): Promise<number | undefined> {
  const lists = await namesIn(join(root, 'var/lib/apt/lists'))
  if (!lists.some((name) => /-security_(?:In)?Release$/.test(name))) return undefined
  const elsewhere =
    root === '/' ? [] : ['-o', `Dir=${root}`, '-o', `Dir::State::status=${join(root, 'var/lib/dpkg/status')}`]
  const { status, stdout } = await runCommand(
    // A second or more of a core: everything else comes first.
    [
      'nice',
      '-n',
      '19',
      'apt-get',
      '--simulate',
      '-o',
      'Debug::NoLocking=true',
      ...elsewhere,
      'dist-upgrade',
    ],
    signal,
  )
  return status === 0 ? countAptSecurity(stdout) : undefined
}

/** The logs of this month and of the one before: they are cut monthly. */
async function lastUpgrade(logs: string): Promise<number | undefined> {
  const read = async (name: string): Promise<string> =>
    (await readText(join(logs, name), { maxBytes: logBytes, fromEnd: true }).catch(() => undefined)) ?? ''
  const packed = async (name: string): Promise<string> => {
    const bytes = await readBytes(join(logs, name), { maxBytes: logBytes }).catch(() => undefined)
    if (bytes === undefined) return ''
    return String(await unpack(bytes, { maxOutputLength: 8 * logBytes }).catch(() => ''))
  }
  const histories = [await read('apt/history.log'), await packed('apt/history.log.1.gz')]
  const dpkg = [await read('dpkg.log'), await read('dpkg.log.1')]
  return [...histories.map(lastAptUpgrade), ...dpkg.map(lastDpkgUpgrade)].reduce(latest, undefined)
}

async function dnfFacts(root: string, ask: Ask, signal: AbortSignal): Promise<Facts> {
  const checkedAt = await lastDnfLook(root)
  const times = await runCommand(['rpm', '-qa', '--qf', '%{INSTALLTIME}\n'], signal)
  const upgradedAt = lastRpmInstall(times.stdout)
  return { checkedAt, upgradedAt, waiting: await ask(`${checkedAt} ${upgradedAt}`, signal) }
}

/**
 * When dnf, of either generation, has last compared an archive with its server: it writes its metadata then, or dates a file of it anew. The
 * folders above stay as they are.
 *
 * @returns Unix ms
 */
export async function lastDnfLook(root: string): Promise<number | undefined> {
  const caches = ['var/cache/dnf', 'var/cache/libdnf5'].map((name) => join(root, name))
  const archives = await inEach(caches)
  const files = await inEach(archives.map((archive) => join(archive, 'repodata')))
  return (await Promise.all(files.map(writtenAt))).reduce(latest, undefined)
}

async function inEach(folders: readonly string[]): Promise<readonly string[]> {
  const found = folders.map(async (folder) => (await namesIn(folder)).map((name) => join(folder, name)))
  return (await Promise.all(found)).flat()
}

async function waitingByDnf(signal: AbortSignal): Promise<number | undefined> {
  const { status, stdout } = await runCommand(['dnf', '-q', '-C', 'updateinfo', 'list', '--security'], signal)
  return status === 0 ? countDnfSecurity(stdout) : undefined
}
