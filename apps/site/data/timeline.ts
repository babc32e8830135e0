import { agentsNamed, entriesAbout, namesOf, peopleNamed } from '#adapters/store-postgres/index.ts'
import { type TimelineAnswer, type TimelineEntry, type TimelineTopic, timelineEntry } from '#core/api/data.ts'
import { uuid } from '#core/api/words.ts'
import { workspaceSubject } from '#core/audit/index.ts'
import type { Site } from '../site.ts'

/** What the audit log tells of one workspace, person, machine, session or lease. */

export interface TimelineWish {
  readonly topic: TimelineTopic
  /** Its id; of a person also the login, of a machine also the name. */
  readonly about: string
  readonly limit: number
  readonly before?: bigint | undefined
}

/** The log's own entries; perhaps of a kind that only a node of a later version knows. */
const entryShape = timelineEntry.omit({ index: true })

/** Newest first. Of what nobody knows there is nothing to tell. */
export async function readTimeline(site: Site, wish: TimelineWish): Promise<TimelineAnswer> {
  const { db } = site.store
  const subjects = await subjectsNamed(site, wish)
  const found = subjects.length === 0 ? [] : await entriesAbout(db, subjects, wish)
  const entries = found.map(({ index, entry }) => ({ index, ...entryShape.parse(JSON.parse(String(entry))) }))
  const names = await namesOf(db, idsIn(entries))
  const last = entries.at(-1)
  return {
    entries,
    names: Object.fromEntries(names),
    ...(entries.length < wish.limit || last === undefined ? {} : { next: last.index }),
  }
}

async function subjectsNamed(site: Site, { topic, about }: TimelineWish): Promise<readonly string[]> {
  const { db } = site.store
  if (topic === 'workspace') return [workspaceSubject(about)]
  if (uuid.safeParse(about).success) return [about.toLowerCase()]
  if (topic === 'host' || topic === 'endpoint') return agentsNamed(db, topic, about)
  return topic === 'person' ? peopleNamed(db, about) : []
}

/** Whatever looks like an id in them: who has a name by it is called by that. */
function idsIn(entries: readonly TimelineEntry[]): string[] {
  const text = JSON.stringify(entries)
  return [...new Set(text.match(/\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b/g) ?? [])]
}
