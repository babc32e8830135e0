import { listChannels, openAlarms, readRepository } from '#adapters/store-postgres/index.ts'
import { type EndingRole, endingRoles } from '#core/release/index.ts'
import { type Alarm, raise, settle } from '../evidence/alarms.ts'
import type { Site } from '../site.ts'

/** Time enough to bring those together whose keys are in safes. */
const warningMs = 30 * 86_400_000
const keyPrefix = 'release-ends:'

/** Calls admins before what people signed ends, and until it is signed again: nobody but people can renew it. */
export async function warnOfEnds(site: Site): Promise<void> {
  const { db } = site.store
  const [repository, channels, standing] = await Promise.all([
    readRepository(db),
    listChannels(db),
    openAlarms(db),
  ])
  const names = channels.map(({ name }) => name)
  const ending = repository === undefined ? [] : endingRoles(repository, names, site.now() + warningMs)
  const alarms = new Map(ending.map((role) => [`${keyPrefix}${role.role}`, role]))
  const keys = new Set(standing.map(({ key }) => key).filter((key) => key.startsWith(keyPrefix)))
  for (const [key, role] of alarms) if (!keys.has(key)) await raise(site, { key, ...alarmOf(role) })
  for (const key of keys) if (!alarms.has(key)) await settle(site, key)
}

const nothing = 'nothing is launched that needs a disk'
const lists: ReadonlyMap<string, readonly [what: string, effect: string, command: string]> = new Map([
  ['root', ['the list of who signs (root)', nothing, 'image root, with the same keys']],
  ['targets', ['the list of who signs which image (targets)', nothing, 'image renew targets']],
])

function alarmOf({ role, endsAtMs }: EndingRole): Omit<Alarm, 'key'> {
  const date = new Date(endsAtMs).toISOString().slice(0, 10)
  const ofImage = [
    `the releases of ${role}`,
    'nothing is launched from its disk',
    `image renew ${role}`,
  ] as const
  const [what, effect, command] = lists.get(role) ?? ofImage
  return {
    kind: 'releases',
    message: `The signatures under ${what} end on ${date}: from then on ${effect}`,
    remedy: `Propose the same for longer, trustcast ${command}; then have it signed and publish it, trustcast image sign and image publish ${role}.`,
  }
}
