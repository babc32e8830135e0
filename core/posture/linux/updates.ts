import type { Observation } from '#core/evidence/observation.ts'
import { days, daysBetween, type PostureLimits } from '../limits.ts'
import { observe, unknown } from '../observe.ts'
import { linesOf, parseProperties } from '../read-text.ts'

/** What is known about a system's updates. Times in Unix ms. */
export interface UpdateFacts {
  /** `Debian GNU/Linux 12 (bookworm)`. */
  readonly system: string
  /** When its maker stops to mend it, where it says so. */
  readonly supportEndsAt?: number | undefined
  /** When packages were last upgraded here. */
  readonly upgradedAt?: number | undefined
  /** When somebody last looked for updates. */
  readonly checkedAt?: number | undefined
  /** Security updates that are there and not installed; undefined when nobody could tell. */
  readonly waiting?: number | undefined
  /** Since when some have waited without a break, as far back as anybody looked. */
  readonly waitingSince?: number | undefined
  /** Somebody has looked before those waited. */
  readonly noneWaitedBefore?: boolean
}

const claim = 'endpoint.osUpdates'

/** Days since the last security update count only while one waits: a system of which nothing was mended lately is not late. */
export function judgeUpdates(
  facts: UpdateFacts,
  limits: PostureLimits,
  now: number,
  collector: string,
): Observation {
  const { system, supportEndsAt, upgradedAt, checkedAt, waiting, waitingSince = now } = facts
  if (supportEndsAt !== undefined && supportEndsAt < now)
    return observe(claim, 'overdue', collector, `${system} gets no updates any more`)
  if (waiting === undefined || checkedAt === undefined)
    return unknown(claim, collector, `${system}: it cannot be told which updates wait`)
  const checked = daysBetween(checkedAt, now)
  if (checked > limits.listsMaxAgeDays)
    return observe(claim, 'overdue', collector, `${system}: nobody looked for updates for ${days(checked)}`)
  const upgraded = upgradedAt === undefined ? undefined : daysBetween(upgradedAt, now)
  const last =
    upgraded === undefined
      ? 'no package was ever upgraded'
      : `packages were last upgraded ${days(upgraded)} ago`
  if (waiting === 0)
    return observe(claim, 'current', collector, `${system}: no security update waits, ${last}`)
  // Where nobody saw them come, they may have come right after the last upgrade.
  const since = facts.noneWaitedBefore === true ? waitingSince : Math.min(upgradedAt ?? 0, waitingSince)
  const waited = daysBetween(since, now)
  const isLate = waited > limits.updateGraceDays
  const waits = waiting === 1 ? '1 security update waits' : `${waiting} security updates wait`
  return observe(claim, isLate ? 'overdue' : 'current', collector, `${system}: ${waits}, ${last}`)
}

/** os-release(5): the name, and the day on which support ends where the distribution gives one. */
export function parseOsRelease(text: string): Pick<UpdateFacts, 'system' | 'supportEndsAt'> {
  const fields = parseProperties(text)
  const end = Date.parse(`${fields.get('SUPPORT_END') ?? ''}T23:59:59Z`)
  return {
    system: fields.get('PRETTY_NAME') ?? fields.get('NAME') ?? 'this system',
    ...(Number.isNaN(end) ? {} : { supportEndsAt: end }),
  }
}

/**
 * apt's `history.log`: paragraphs of `Start-Date: 2026-11-20  06:11:12` and what was done; `Upgrade:` names packages. Local time, taken
 * as UTC: only days count.
 *
 * @returns when packages were last upgraded, Unix ms
 */
export function lastAptUpgrade(history: string): number | undefined {
  let startedAt: number | undefined
  let last: number | undefined
  for (const line of linesOf(history)) {
    if (line.startsWith('Start-Date: ')) startedAt = timeIn(line.slice('Start-Date: '.length))
    if (line.startsWith('Upgrade: ')) last = latest(last, startedAt)
  }
  return last
}

/** `dpkg.log`: `2026-11-20 06:11:12 upgrade libc6:amd64 2.36-9 2.36-10`. @returns the last upgrade, Unix ms */
export function lastDpkgUpgrade(log: string): number | undefined {
  return linesOf(log)
    .filter((line) => line.slice(19).startsWith(' upgrade '))
    .reduce<number | undefined>((last, line) => latest(last, timeIn(line)), undefined)
}

/**
 * `apt-get --simulate dist-upgrade`: `Inst zlib1g [1:1.2.13-1] (1:1.2.13-2 Debian-Security:12/oldstable-security [amd64])`.
 *
 * @returns how many of the packages that it would install come from an archive of security updates
 */
export function countAptSecurity(simulation: string): number {
  return linesOf(simulation).filter((line) => line.startsWith('Inst ') && /-security[ ,)]/i.test(line)).length
}

/**
 * `dnf -q -C updateinfo list --security`: `FEDORA-2026-0123456789 Important/Sec. kernel-6.17.1-300.fc43.x86_64`.
 *
 * @returns how many security updates wait
 */
export function countDnfSecurity(list: string): number {
  return linesOf(list).filter((line) => /^\S+\s+(?:\S+\/Sec\.|security)\s+\S+/i.test(line)).length
}

/** `rpm -qa --qf '%{INSTALLTIME}\n'`: Unix seconds. @returns the newest, Unix ms */
export function lastRpmInstall(times: string): number | undefined {
  return linesOf(times)
    .filter((line) => /^\d{1,12}$/.test(line))
    .reduce<number | undefined>((last, line) => latest(last, Number(line) * 1000), undefined)
}

/** @returns the later of two times */
export function latest(a: number | undefined, b: number | undefined): number | undefined {
  if (a === undefined || b === undefined) return a ?? b
  return Math.max(a, b)
}

function timeIn(text: string): number | undefined {
  const [, day, time] = /^(\d{4}-\d\d-\d\d) +(\d\d:\d\d:\d\d)/.exec(text) ?? []
  const at = Date.parse(`${day}T${time}Z`)
  return Number.isNaN(at) ? undefined : at
}
