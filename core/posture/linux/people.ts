import type { Observation } from '#core/evidence/observation.ts'
import { observe, unknown } from '../observe.ts'
import { linesOf, parseProperties } from '../read-text.ts'

/** Groups whose members become root without asking anybody else: by sudo, or because what the group owns amounts to it. */
const adminGroups = new Set([
  'root',
  'sudo',
  'wheel',
  'admin',
  'docker',
  'lxd',
  'incus-admin',
  'libvirt',
  'disk',
])

const claim = 'endpoint.localAdmin'
const collector = 'accounts'

/** A person who sits at the machine, by the account they have there. */
export interface AccountFacts {
  readonly uid: number
  readonly groups: readonly string[]
}

/** @returns `yes` when any of them is root or may become it by a group; what a sudo rule names an account for is not seen */
export function judgeLocalAdmin(accounts: readonly AccountFacts[]): Observation {
  if (accounts.length === 0) return unknown(claim, collector, 'nobody is signed in here')
  if (accounts.some(({ uid }) => uid === 0))
    return observe(claim, 'yes', collector, 'the person is signed in as root')
  const group = accounts.flatMap(({ groups }) => groups).find((name) => adminGroups.has(name))
  if (group !== undefined) return observe(claim, 'yes', collector, `the person is in the group ${group}`)
  // Everybody is in one: the directory service that knows them does not answer.
  if (accounts.some(({ groups }) => groups.length === 0))
    return unknown(claim, collector, 'it cannot be told which groups the person is in')
  return observe(claim, 'no', collector, 'the person is in no group of administrators')
}

/** `id -Gnz UID`: each name ends with a NUL, since those of directory services may have spaces. */
export function parseGroupNames(text: string): readonly string[] {
  return text.split('\0').filter((name) => name !== '')
}

/** `loginctl list-sessions --no-legend`: the session's id stands first. */
export function parseSessionIds(text: string): readonly string[] {
  return linesOf(text)
    .flatMap((line) => /^\s*([A-Za-z0-9]{1,32})(?:\s|$)/.exec(line)?.[1] ?? [])
    .slice(0, 100)
}

/**
 * `loginctl show-session ID`: properties of org.freedesktop.login1.Session.
 *
 * @returns the account of a person who sits at the machine itself; undefined for greeters, services and who came over a network
 */
export function sittingPerson(text: string): number | undefined {
  const fields = parseProperties(text)
  const uid = fields.get('User') ?? ''
  const isSitting =
    fields.get('Class') === 'user' && fields.get('Remote') !== 'yes' && fields.get('State') !== 'closing'
  return isSitting && /^\d{1,10}$/.test(uid) ? Number(uid) : undefined
}
