import {
  hostedCopies,
  keptCopies,
  leasedCopies,
  mostCopies,
  pausedCopies,
  replicaCopies,
} from '#adapters/store-postgres/index.ts'
import type { DataAnswer } from '#core/api/data.ts'
import { summaryOf } from '#core/data/index.ts'
import { pausedSince } from '#core/lease/index.ts'
import {
  hostedCopyOf,
  keptCopyOf,
  leasedCopyOf,
  pausedCopyOf,
  replicaCopyOf,
  type Sight,
} from './data-copies.ts'
import { readRules } from './rules.ts'
import type { Site } from './site.ts'

/** Every copy of data as the site knows it now: what runs on hosts, what endpoints hold, what was left on them, and replicas of it. */
export async function readData(site: Site): Promise<DataAnswer> {
  const { db } = site.store
  const since = new Date(pausedSince(site.now()))
  const [rules, hosted, leased, paused, kept, replicas] = await Promise.all([
    readRules(db),
    hostedCopies(db),
    leasedCopies(db),
    pausedCopies(db, since),
    keptCopies(db, since),
    replicaCopies(db, mostCopies),
  ])
  const sight: Sight = { now: site.now(), rules }
  const copies = [
    ...leased.map((row) => leasedCopyOf(row, sight)),
    ...paused.map((row) => pausedCopyOf(row, sight)),
    ...kept.map((row) => keptCopyOf(row, sight)),
    ...hosted.map((row) => hostedCopyOf(row, sight)),
    ...replicas.map((row) => replicaCopyOf(row, { id: site.siteId, name: site.config.name })),
  ]
  const complete = [hosted, leased, paused, kept, replicas].every(({ length }) => length < mostCopies)
  return { at: new Date(sight.now).toISOString(), copies, complete, summary: summaryOf(copies) }
}
