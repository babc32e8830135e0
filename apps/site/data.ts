import { hostedCopies, keptCopies, leasedCopies, mostCopies } from '#adapters/store-postgres/index.ts'
import type { DataAnswer } from '#core/api/data.ts'
import { summaryOf } from '#core/data/index.ts'
import { hostedCopyOf, keptCopyOf, leasedCopyOf, type Sight } from './data-copies.ts'
import { readRules } from './rules.ts'
import type { Site } from './site.ts'

/** Every copy of data as the site knows it now: what runs on hosts, what endpoints hold, and what was left on them. */
export async function readData(site: Site): Promise<DataAnswer> {
  const { db } = site.store
  const [rules, hosted, leased, kept] = await Promise.all([
    readRules(db),
    hostedCopies(db),
    leasedCopies(db),
    keptCopies(db),
  ])
  const sight: Sight = { now: site.now(), rules }
  const copies = [
    ...leased.map((row) => leasedCopyOf(row, sight)),
    ...kept.map((row) => keptCopyOf(row, sight)),
    ...hosted.map((row) => hostedCopyOf(row, sight)),
  ]
  const complete = [hosted, leased, kept].every(({ length }) => length < mostCopies)
  return { at: new Date(sight.now).toISOString(), copies, complete, summary: summaryOf(copies) }
}
