import { setTimeout as sleep } from 'node:timers/promises'
import {
  type CopyFilter,
  type CopyPart,
  copiesAtOnce,
  hostedCopies,
  keptCopies,
  leasedCopies,
  pausedCopies,
  replicaCopies,
} from '#adapters/store-postgres/index.ts'
import type { DataAnswer, DataCopy, DataQuery } from '#core/api/data.ts'
import { addToSummary, choosing, emptySummary } from '#core/data/index.ts'
import { pausedSince } from '#core/lease/index.ts'
import { readRules } from '../launches/rules.ts'
import type { Site } from '../site.ts'
import { asOne } from '../turns.ts'
import {
  hostedCopyOf,
  keptCopyOf,
  leasedCopyOf,
  pausedCopyOf,
  replicaCopyOf,
  type Sight,
} from './data-copies.ts'

/**
 * Answers who asks where data is. All copies are counted and looked at, a part at a time: in which zone a copy is seen is not known to the
 * database. Of a large site that takes seconds, so there is one look at a time, for all who have asked by then, and after it as long a rest:
 * pages ask whenever anything changes.
 */
export function dataReader(site: Site): (query: DataQuery) => Promise<DataAnswer> {
  let restUntil = 0
  const look = asOne(async (queries: readonly string[]) => {
    await sleep(Math.max(0, restUntil - performance.now()))
    const began = performance.now()
    const answers = await readData(site, queries)
    restUntil = 2 * performance.now() - began
    return answers
  })
  return async (query) => {
    const answer = await look(JSON.stringify(query))
    if (answer === undefined) throw new TypeError('expected an answer to each question')
    return answer
  }
}

/** Copies of data as the site knows them now: what runs on hosts, what endpoints hold, what was left on them, and replicas of it. */
async function readData(site: Site, queries: readonly string[]): Promise<ReadonlyMap<string, DataAnswer>> {
  const sight: Sight = { now: site.now(), rules: await readRules(site.store.db) }
  const at = new Date(sight.now).toISOString()
  const summary = emptySummary()
  const chosen = queries.map((query) => [query, choosePage(JSON.parse(query) as DataQuery)] as const)
  for await (const placed of everyCopy(site, sight, {})) {
    addToSummary(summary, placed.copy)
    for (const [, page] of chosen) page.add(placed)
  }
  return new Map(chosen.map(([query, page]) => [query, { at, ...page.read(), summary }]))
}

/** Gathers the page that was asked for. */
function choosePage({ after = '', limit, ...which }: DataQuery) {
  const isChosen = choosing(which)
  const page: Placed[] = []
  let found = 0
  let isMore = false
  return {
    add: (placed: Placed): void => {
      if (!isChosen(placed.copy)) return
      found += 1
      if (placed.place <= after) return
      if (page.length < limit) page.push(placed)
      else isMore = true
    },
    read: (): Pick<DataAnswer, 'copies' | 'found' | 'next'> => {
      const next = isMore ? page.at(-1)?.place : undefined
      return {
        copies: page.toSorted(byAge).map(({ copy }) => copy),
        found,
        ...(next === undefined ? {} : { next }),
      }
    },
  }
}

/** All copies of a person's, or of a workspace. */
export async function copiesOf(site: Site, about: CopyFilter): Promise<readonly DataCopy[]> {
  const sight: Sight = { now: site.now(), rules: await readRules(site.store.db) }
  const copies: DataCopy[] = []
  for await (const { copy } of everyCopy(site, sight, about)) copies.push(copy)
  return copies
}

interface Placed {
  readonly copy: DataCopy
  /** In the order of all: the number of its kind, and its id. */
  readonly place: string
}

/** Within their kind, the oldest first. */
function byAge(a: Placed, b: Placed): number {
  const [one, other] = [a, b].map(({ place, copy }) => `${place.charAt(0)} ${copy.since}`)
  return (one ?? '') < (other ?? '') ? -1 : 1
}

async function* everyCopy(site: Site, sight: Sight, about: CopyFilter): AsyncGenerator<Placed> {
  const { db } = site.store
  const since = new Date(pausedSince(sight.now))
  const self = { id: site.siteId, name: site.config.name }
  const kinds = [
    inParts(
      about,
      (part) => leasedCopies(db, part),
      (row) => leasedCopyOf(row, sight),
    ),
    inParts(
      about,
      (part) => pausedCopies(db, since, part),
      (row) => pausedCopyOf(row, sight),
    ),
    inParts(
      about,
      (part) => keptCopies(db, since, part),
      (row) => keptCopyOf(row, sight),
    ),
    inParts(
      about,
      (part) => hostedCopies(db, part),
      (row) => hostedCopyOf(row, sight),
    ),
    inParts(
      about,
      (part) => replicaCopies(db, copiesAtOnce, part),
      (row) => replicaCopyOf(row, self),
    ),
  ]
  for (const [kind, copies] of kinds.entries())
    for await (const copy of copies) yield { copy, place: `${kind}.${copy.id}` }
}

/** All rows of a list that gives them in the order of their ids, as copies. */
async function* inParts<Row extends { readonly id: string }>(
  about: CopyFilter,
  list: (part: CopyPart) => Promise<readonly Row[]>,
  copyOf: (row: Row) => DataCopy,
): AsyncGenerator<DataCopy> {
  let after = ''
  for (;;) {
    const rows = await list({ ...about, after })
    for (const row of rows) yield copyOf(row)
    const last = rows.at(-1)
    if (last === undefined || rows.length < copiesAtOnce) return
    after = last.id
  }
}
