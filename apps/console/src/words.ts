import type { DecisionRecord } from '#core/api/admin.ts'
import type { LeaseView } from '#core/api/lease.ts'
import type { SessionView } from '#core/api/person.ts'
import type { Refusal, Restriction, Unlock } from '#core/api/words.ts'
import { copyStateNames, modeNames, zoneKindNames } from '#core/data/index.ts'
import type { DataPlace, DeliveryMode, Right } from '#core/trust/words.ts'

/** The product's words as sentences for people. One place, so that every page says the same; what the site searches by is in `core/data`. */

export { copyStateNames, modeNames, zoneKindNames }

export const modeSentences: Readonly<Record<DeliveryMode, string>> = {
  'hosted-shared': 'Runs in the data centre, on a shared host',
  'hosted-vm': 'Runs in the data centre, in a virtual machine of your own',
  'hosted-blade': 'Runs in the data centre, on a machine of your own',
  'streamed-disk': 'Runs on this computer, from a disk that is streamed to it',
  'local-vm': 'Runs on this computer, in a virtual machine',
  'network-boot': 'Starts this computer over the network',
}

export const placeSentences: Readonly<Record<DataPlace, string>> = {
  datacenter: 'Data stays in the data centre',
  'datacenter-vm': 'Data stays in the data centre, in your virtual machine',
  blade: 'Data stays in the data centre, on your machine',
  endpoint: 'Data is on this computer while it runs',
}

/** What is off when a right is withheld. */
export const restrictionNames: Readonly<Record<Right, string>> = {
  input: 'View only',
  'clipboard-in': 'Copying in is off',
  'clipboard-out': 'Copying out is off',
}

export const refusalNames: Readonly<Record<Refusal['code'], string>> = {
  POLICY_FORBIDS: 'Forbidden',
  POLICY_NO_PERMIT: 'Not permitted',
  POLICY_ERROR: 'Policy error',
  NO_DELIVERER: 'Not set up here',
  NO_CAPACITY: 'No capacity now',
  NO_ENDPOINT: 'Not on this device',
  NO_RELEASE: 'Nothing published',
}

export const causeNames: Readonly<Record<DecisionRecord['cause'], string>> = {
  launch: 'Launch',
  reconnect: 'Reconnect',
  group: 'Group changed',
  zone: 'Network changed',
  policy: 'Policy changed',
  evidence: 'Evidence changed',
  sweep: 'Regular check',
}

export const zoneSentences: Readonly<Record<'inside' | 'outside' | 'hostile', string>> = {
  inside: 'a network of your organisation',
  outside: 'a network outside of your organisation',
  hostile: 'a network that is not trusted',
}

const sourceWorth: Readonly<Record<string, string>> = {
  attested: 'Proven by hardware',
  corroborated: 'Confirmed by a second source',
  server: 'Seen by the site itself',
  self: 'Said by the device: can only lower trust',
}

/** What a claim's source makes it worth. */
export function worthOf(source: string): string {
  return sourceWorth[source] ?? source
}

/** One smallest set of changes, such as `Turn on disk encryption and join the office network`. */
export function unlockSentence(unlock: Unlock): string {
  const remedies = unlock.changes.map(({ remedy }) => remedy.replace(/\.$/, ''))
  return remedies
    .map((remedy, index) => (index === 0 ? remedy : remedy.charAt(0).toLowerCase() + remedy.slice(1)))
    .join(' and ')
}

/** The same for a tile, where there is room for one line: `Turn on disk encryption and 3 more changes`. */
export function unlockSummary(unlock: Unlock): string {
  const [first, ...more] = unlock.changes
  if (first === undefined || more.length < 2) return unlockSentence(unlock)
  return `${first.remedy.replace(/\.$/, '')} and ${more.length} more changes`
}

/** One short line for each restriction, such as `Copying out is off`. */
export function restrictionName(restriction: Pick<Restriction, 'right'>): string {
  return restrictionNames[restriction.right]
}

export interface RightsBefore {
  readonly rights: readonly Right[]
}
export interface RightsAfter extends RightsBefore {
  readonly restrictions: readonly Restriction[]
}

/** What a person is told when the rights of a running session change; empty when nothing changed. */
export function rightsChanges(before: RightsBefore, after: RightsAfter): readonly string[] {
  const lost = before.rights.filter((right) => !after.rights.includes(right))
  const gained = after.rights.filter((right) => !before.rights.includes(right))
  return [
    ...lost.map((right) => {
      const reason = after.restrictions.find((restriction) => restriction.right === right)?.reason
      return sentence(`${turned[right].off}${reason === undefined ? '' : `: ${reason}`}`)
    }),
    ...gained.map((right) => `${turned[right].on}.`),
  ]
}

const turned: Readonly<Record<Right, { readonly on: string; readonly off: string }>> = {
  input: { on: 'You can type and point again', off: 'The session was set to view only' },
  'clipboard-in': { on: 'Copying in was turned on', off: 'Copying in was turned off' },
  'clipboard-out': { on: 'Copying out was turned on', off: 'Copying out was turned off' },
}

const stateNames: Readonly<Record<SessionView['state'], string>> = {
  starting: 'Starting',
  ready: 'In use',
  ending: 'Ending',
  ended: 'Ended',
}

/** State of a session in one or two words. */
export function sessionStateName(session: Pick<SessionView, 'state' | 'connected'>): string {
  return session.state === 'ready' && !session.connected ? 'Disconnected' : stateNames[session.state]
}

/** How long ago, coarse: `just now`, `5 min ago`, `3 h ago`, `2 days ago`. */
export function ago(instant: string, nowMs: number): string {
  const minutes = Math.floor((nowMs - Date.parse(instant)) / 60_000)
  if (minutes < 1) return 'just now'
  return `${span(minutes)} ago`
}

/** A length of time in whole minutes, coarse: `5 min`, `3 h`, `2 days`. */
export function span(minutes: number): string {
  if (minutes < 60) return `${minutes} min`
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h`
  return `${Math.floor(minutes / 1440)} days`
}

/** A size in bytes as people write it: `64 KiB`, `1.4 GiB`. */
export function size(bytes: number): string {
  if (bytes < 1024) return `${bytes} bytes`
  const [power, unit] = sizeUnits.find(([power]) => Math.round(bytes / 1024 ** power) < 1024) ?? [4, 'TiB']
  const value = bytes / 1024 ** power
  return `${power > 2 && value < 100 ? Number(value.toFixed(1)) : Math.round(value)} ${unit}`
}

const sizeUnits = [
  [1, 'KiB'],
  [2, 'MiB'],
  [3, 'GiB'],
] as const

/** A part of a whole: `94 %`; what is not all is never called all, and what is something never nothing. */
export function percent(part: number, whole: number): string {
  if (whole === 0 || part === 0) return '0 %'
  if (part >= whole) return '100 %'
  const share = (100 * part) / whole
  if (share < 0.1) return 'less than 0.1 %'
  if (share < 10 || share > 99) return `${Math.min(99.9, Number(share.toFixed(1)))} %`
  return `${Math.round(share)} %`
}

export const channelNames: Readonly<Record<'test' | 'production', string>> = {
  test: 'Test',
  production: 'Production',
}

/** State of a lease in a word. */
export const leaseStateNames: Readonly<Record<LeaseView['state'], string>> = {
  offered: 'Starting',
  held: 'Held',
  withdrawn: 'Withdrawn',
  ended: 'Ended',
}

/** State of a copy of data in a word or two. */
/** A number of things: `1 copy`, `3 copies`. */
export function count(number: number, one: string, many: string): string {
  return `${number.toLocaleString()} ${number === 1 ? one : many}`
}

/** A time of today as on a clock, another with its day. */
export function clock(instant: string): string {
  const at = new Date(instant)
  const isToday = at.toDateString() === new Date().toDateString()
  const day = isToday ? {} : ({ month: 'short', day: 'numeric' } as const)
  return at.toLocaleString([], { ...day, hour: 'numeric', minute: '2-digit' })
}

/** What happens to what was written on a streamed disk. */
export const overlaySentences: Readonly<Record<LeaseView['overlay'], string>> = {
  discard: 'What was written on the disk since it was opened is discarded.',
  keep: 'What was written on the disk since it was opened is kept on the endpoint, encrypted.',
  replicate:
    'What was written on the disk since it was opened is kept on the endpoint and in the data centre, encrypted.',
}

/** What a release role is about. */
export function roleTitle(role: string): string {
  if (role === 'root') return 'Root keys'
  return role === 'targets' ? 'Keys of images' : role
}

/** Reasons and messages of the site are clauses, for logs as well: here they begin and end as sentences do. */
export function sentence(clause: string): string {
  return `${clause.charAt(0).toUpperCase()}${clause.slice(1)}${/[.!?]$/.test(clause) ? '' : '.'}`
}
