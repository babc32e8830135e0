import { discardedReplicas, olderReplicas, type ReplicaRow } from '#adapters/store-postgres/index.ts'
import type { Site } from '../site.ts'
import { isReplicaWhole, removeReplica } from './replicas.ts'

/**
 * Copies in the data centre that outlive what the policy says. What is to go follows from the rows alone, so that whoever was killed in the
 * middle, or another node, goes on; the log is told before it is gone (I7), and whoever commits at the same moment is not in its way.
 */

const dayMs = 24 * 60 * 60_000

/** Of what was discarded, and of older versions once the newer one is whole. */
export async function removeOutlivedReplicas(site: Site): Promise<void> {
  await removeDiscardedReplicas(site)
  const before = new Date(site.now() - site.config.replicas.olderDays * dayMs)
  for (const { older, newer } of await olderReplicas(site.store.db, before)) {
    if (await isReplicaWhole(site, newer))
      await remove(site, older, `what was written on version ${newer.version} since is whole`)
    else site.log.error({ replica: newer.id, older: older.id }, 'a replica is not whole: the older one stays')
  }
}

/** Those whose overlay the endpoint that sent it last has discarded. @param personId absent: everybody's */
export async function removeDiscardedReplicas(site: Site, personId?: string): Promise<void> {
  for (const row of await discardedReplicas(site.store.db, personId))
    await remove(site, row, 'the policy said that it is discarded')
}

async function remove(site: Site, { id, sequence }: ReplicaRow, reason: string): Promise<void> {
  await removeReplica(site, id, reason, { type: 'site', id: site.siteId }, sequence)
}
