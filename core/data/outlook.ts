import type { DeletionView } from '#core/api/admin.ts'

/**
 * What deleting a person or workspace leads to, in sentences: the same on the page and on the command line.
 *
 * @param data what becomes of what was written
 * @param size writes a number of bytes
 */
export function outlookSentences(
  { sessions, leases, overlays, replicas, person }: DeletionView,
  data: 'keep' | 'discard',
  size: (bytes: number) => string,
): readonly string[] {
  const isGone = data === 'discard'
  const [overlay, overlaysAre] = [
    count(overlays.count, 'overlay', 'overlays'),
    overlays.count === 1 ? 'is' : 'are',
  ]
  const place = `of closed leases (${size(overlays.sizeBytes)}) on devices`
  const { account = '', hosts = [], hostsOutOfReach = [] } = person ?? {}
  const written = person === undefined ? 'what local VMs wrote under them' : 'what was written under them'
  const fate = isGone ? 'is kept nowhere' : 'stays or goes as the policy said'
  const all: readonly (readonly [number, string])[] = [
    [sessions, `${count(sessions, 'running session ends', 'running sessions end')} at once`],
    [
      leases,
      `${count(leases, 'lease is withdrawn, and its key wiped', 'leases are withdrawn, and their keys wiped')}; ${written} ${fate}`,
    ],
    [
      overlays.count,
      isGone
        ? `${overlay} ${place} ${overlaysAre} discarded by each device as soon as it hears of that; until then it is there, sealed and without a key`
        : `${overlay} ${place} ${overlaysAre} kept there, sealed and without a key, until the device is wiped`,
    ],
    [
      isGone ? overlays.outOfReach : 0,
      `${overlays.outOfReach} of them ${overlays.outOfReach === 1 ? 'stays' : 'stay'} until the device is upgraded or wiped: it was revoked, or its program is too old to be told`,
    ],
    [
      replicas.count,
      `${count(replicas.count, 'replica', 'replicas')} in the data centre (${size(replicas.sizeBytes)}) ${replicas.count === 1 ? 'is' : 'are'} ${isGone ? 'discarded for good' : 'kept, sealed, until an admin removes what is left on the page Data'}`,
    ],
    [person?.endpoints ?? 0, `${count(person?.endpoints ?? 0, 'device becomes', 'devices become')} nobody’s`],
    [
      hosts.length,
      isGone
        ? `The home of the account ${account} on ${hosts.join(', ')} is removed by each host as soon as it hears of that`
        : `The home of the account ${account} stays on ${hosts.join(', ')}, where nobody else is given it`,
    ],
    [
      isGone ? hostsOutOfReach.length : 0,
      `It stays on ${hostsOutOfReach.join(', ')}, which cannot be told, because it was revoked or its program is too old: upgrade that, or run there: userdel --remove ${account}`,
    ],
  ]
  const said = all.flatMap(([number, sentence]) => (number === 0 ? [] : [`${sentence}.`]))
  return said.length > 0 ? said : ['Nothing runs, and nothing was written.']
}

function count(number: number, one: string, more: string): string {
  return `${number} ${number === 1 ? one : more}`
}
