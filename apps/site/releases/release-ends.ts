import { hash } from 'node:crypto'
import { listChannels, openAlarms, readRepository } from '#adapters/store-postgres/index.ts'
import { type EndingRole, endingRoles } from '#core/release/index.ts'
import { type Alarm, raise, settle } from '../evidence/alarms.ts'
import type { Site } from '../site.ts'

/** Time enough to bring those together whose keys are in safes. */
const warningMs = 30 * 86_400_000
const keyPrefix = 'releases-end:'
const mostNamed = 5

/** Calls admins before what people signed ends, and until it is signed again: nobody but people can renew it. */
export async function warnOfEnds(site: Site): Promise<void> {
  const { db } = site.store
  const [repository, channels, standing] = await Promise.all([
    readRepository(db),
    listChannels(db),
    openAlarms(db),
  ])
  const images = channels.map(({ name }) => name)
  const ending = repository === undefined ? [] : endingRoles(repository, images, site.now() + warningMs)
  const due = ending.length === 0 ? undefined : alarmOf(ending)
  if (due !== undefined) await raise(site, due)
  for (const { key } of standing) if (key.startsWith(keyPrefix) && key !== due?.key) await settle(site, key)
}

/** As the page *Images* calls them. */
const names: ReadonlyMap<string, string> = new Map([
  ['root', 'root keys'],
  ['targets', 'keys of images'],
])

/** One for all of it, and another one when it is something else that ends. */
function alarmOf(ending: readonly EndingRole[]): Alarm {
  const soonest = ending.toSorted((a, b) => a.endsAtMs - b.endsAtMs)
  const named = soonest.slice(0, mostNamed).map(({ role, endsAtMs }) => {
    const date = new Date(endsAtMs).toISOString().slice(0, 10)
    return `${names.get(role) ?? role} (${date})`
  })
  const more = soonest.length > mostNamed ? `, and ${soonest.length - mostNamed} more` : ''
  const ofRoot = ending.some(({ role }) => role === 'root') ? '; root keys: trustcast image root' : ''
  const message = `What people signed ends soon: ${named.join(', ')}${more}. From then on no disk is launched by it`
  const identity = hash('sha256', JSON.stringify(ending), 'hex').slice(0, 16)
  return {
    key: `${keyPrefix}${identity}`,
    kind: 'releases',
    message,
    remedy: `Renew it under Images, or by trustcast image renew${ofRoot}. It counts once it is signed again and published.`,
  }
}
