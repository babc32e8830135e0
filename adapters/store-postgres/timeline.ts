import { sql, type Transaction } from 'kysely'
import { subjectsOf } from '#core/audit/subjects.ts'
import type { Database } from './schema.ts'
import type { Db } from './store.ts'

/**
 * By whom and by what entries of the audit log are found. The index says nothing that the log does not: it is made from the entries,
 * in the transaction that appends them, and can be made anew at any time.
 */

/**
 * Indexes entries that follow on those indexed before. An entry that belongs to a session is also about whom and what the session's first
 * entry is about.
 */
export async function indexEntries(
  tx: Transaction<Database>,
  firstIndex: bigint,
  entries: readonly Uint8Array[],
): Promise<void> {
  const all = entries.map(subjectsOf)
  const named = all.flatMap(({ session, begins }) => (session === undefined || begins ? [] : [session]))
  const known = await sessionSubjects(tx, named)
  const begun = new Map<string, readonly string[]>()
  const rows = all.flatMap(({ subjects, session, begins }, offset) => {
    if (session !== undefined && begins) begun.set(session, subjects)
    const inherited = session === undefined ? [] : (begun.get(session) ?? known.get(session) ?? [])
    const index = String(firstIndex + BigInt(offset))
    return [...new Set([...subjects, ...inherited])].map((subject) => ({ subject, index }))
  })
  if (begun.size > 0) await writeSessions(tx, begun)
  if (rows.length === 0) return
  await sql`insert into audit_subjects (subject, index)
    select * from unnest(${rows.map(({ subject }) => subject)}::text[], ${rows.map(({ index }) => index)}::bigint[])
    on conflict do nothing`.execute(tx)
}

/** Entries of one step: each holds back appending for a moment. */
const stepEntries = 1000

/** Indexes what was appended before there was an index, or by a node of an older version. Any number of callers may ask at once. */
export async function catchUpIndex(db: Db): Promise<void> {
  for (;;) {
    const head = await db.selectFrom('audit_head').select(['size', 'indexed']).executeTakeFirst()
    if (head === undefined || head.size === head.indexed) return
    const done = await db.transaction().execute(async (tx) => {
      const { indexed } = await tx.selectFrom('audit_head').selectAll().forUpdate().executeTakeFirstOrThrow()
      const rows = await tx
        .selectFrom('audit_entries')
        .select('entry')
        .where('index', '>=', indexed)
        .orderBy('index')
        .limit(stepEntries)
        .execute()
      await indexEntries(
        tx,
        BigInt(indexed),
        rows.map(({ entry }) => entry),
      )
      await tx
        .updateTable('audit_head')
        .set({ indexed: String(BigInt(indexed) + BigInt(rows.length)) })
        .execute()
      return rows.length
    })
    if (done < stepEntries) return
  }
}

export interface TimelinePage {
  readonly limit: number
  /** Only entries below this index. */
  readonly before?: bigint | undefined
}

export interface IndexedEntry {
  readonly index: string
  readonly entry: Buffer
}

/** Entries about any of the subjects, newest first. */
export async function entriesAbout(
  db: Db,
  subjects: readonly string[],
  { limit, before }: TimelinePage,
): Promise<readonly IndexedEntry[]> {
  await catchUpIndex(db)
  let found = db
    .selectFrom('audit_subjects')
    .select('index')
    .distinct()
    .where('subject', 'in', subjects)
    .orderBy('index', 'desc')
    .limit(limit)
  if (before !== undefined) found = found.where('index', '<', String(before))
  return db
    .selectFrom('audit_entries as e')
    .innerJoin(found.as('f'), 'f.index', 'e.index')
    .select(['e.index', 'e.entry'])
    .orderBy('e.index', 'desc')
    .execute()
}

/** What people and machines are called; whoever is not known is left out. */
export async function namesOf(db: Db, ids: readonly string[]): Promise<ReadonlyMap<string, string>> {
  if (ids.length === 0) return new Map()
  const people = db.selectFrom('people').select(['id', 'name']).where('id', 'in', ids)
  const agents = db.selectFrom('agents').select(['id', 'name']).where('id', 'in', ids)
  const rows = await people.unionAll(agents).execute()
  return new Map(rows.map(({ id, name }) => [id, name]))
}

/** People of that login, those who were deleted, too. */
export async function peopleNamed(db: Db, login: string): Promise<readonly string[]> {
  const rows = await db.selectFrom('people').select('id').where('login', '=', login).limit(100).execute()
  return rows.map(({ id }) => id)
}

/** Machines of that name, those of earlier enrolments, too. */
export async function agentsNamed(
  db: Db,
  kind: 'host' | 'endpoint',
  name: string,
): Promise<readonly string[]> {
  const rows = await db
    .selectFrom('agents')
    .select('id')
    .where('kind', '=', kind)
    .where('name', '=', name)
    .limit(100)
    .execute()
  return rows.map(({ id }) => id)
}

async function sessionSubjects(
  tx: Transaction<Database>,
  sessions: readonly string[],
): Promise<ReadonlyMap<string, readonly string[]>> {
  if (sessions.length === 0) return new Map()
  const rows = await tx
    .selectFrom('audit_sessions')
    .selectAll()
    .where('session', 'in', [...new Set(sessions)])
    .execute()
  return new Map(rows.map(({ session, subjects }) => [session, subjects]))
}

/** A session that found no place on one host begins anew on another. */
async function writeSessions(
  tx: Transaction<Database>,
  begun: ReadonlyMap<string, readonly string[]>,
): Promise<void> {
  await tx
    .insertInto('audit_sessions')
    .values([...begun].map(([session, subjects]) => ({ session, subjects: [...subjects] })))
    .onConflict((conflict) =>
      conflict.column('session').doUpdateSet((eb) => ({ subjects: eb.ref('excluded.subjects') })),
    )
    .execute()
}
