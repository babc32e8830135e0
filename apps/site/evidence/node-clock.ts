import { databaseTime } from '#adapters/store-postgres/index.ts'
import type { Site } from '../site.ts'
import { nodeName, raise, settle } from './alarms.ts'

/** By their own clocks nodes judge what others wrote down: a ticket lives 30 s, and a host that was not heard of for 15 s is away. */
const mostMs = 5_000

/** Calls admins while this node's clock and the database's, which all nodes have, are apart. */
export async function judgeClock(site: Site): Promise<void> {
  const key = `clock:${nodeName(site)}`
  const asked = site.now()
  const there = await databaseTime(site.store.db)
  // However long the answer took.
  const [behind, ahead] = [there - site.now(), asked - there]
  const apart = Math.max(behind, ahead)
  if (apart <= mostMs) return settle(site, key)
  return raise(site, {
    key,
    kind: 'verifier',
    message: `The clock of node ${nodeName(site)} is ${Math.round(apart / 1000)} s ${ahead > behind ? 'ahead of' : 'behind'} that of the database: launches fail, and trust is judged by the wrong time`,
    remedy: 'Have the clocks of all nodes and of the database set by one time service (NTP).',
  })
}
