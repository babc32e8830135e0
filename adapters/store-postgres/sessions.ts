import { sql, type Transaction } from 'kysely'
import { oweHomes } from './discards.ts'
import { isBehind, isFound, type Page } from './paging.ts'
import type { Database, NewSession, PersonRow, SessionEnd, SessionRow, WorkspaceRow } from './schema.ts'
import type { Db } from './store.ts'

type Queries = Db | Transaction<Database>

/** A session with what every view of it shows. */
export interface SessionDetail extends SessionRow {
  readonly person_login: string
  readonly person_name: string
  /** Of the host or endpoint that it runs on. */
  readonly machine_name: string
  readonly workspace: WorkspaceRow['definition']
  readonly workspace_deleted_at: WorkspaceRow['deleted_at']
}

const live = ['starting', 'ready', 'ending'] as const

/**
 * Stores the session and claims a place on its host, or does neither.
 * No lock is held over more than the host's own row, and it is taken last, as `endSession` does: so none waits in a circle.
 *
 * @returns 'full' when the host has no place now, 'exists' when the person already has a live session of the workspace
 */
export async function placeSession(
  db: Db,
  session: NewSession & { readonly host_id: string },
): Promise<'placed' | 'full' | 'exists'> {
  return db.transaction().execute(async (tx) => {
    const row = await tx
      .insertInto('sessions')
      .values(session)
      .onConflict((conflict) => conflict.doNothing())
      .returning('id')
      .executeTakeFirst()
    if (row === undefined) return 'exists'
    const host = await tx
      .updateTable('agents')
      .set((eb) => ({ placed: eb('placed', '+', 1) }))
      .where('id', '=', session.host_id)
      .where('draining', '=', false)
      .where('revoked_at', 'is', null)
      .whereRef('placed', '<', 'capacity')
      .returning('id')
      .executeTakeFirst()
    if (host !== undefined) return 'placed'
    await tx.deleteFrom('sessions').where('id', '=', row.id).execute()
    return 'full'
  })
}

async function freePlace(tx: Transaction<Database>, hostId: string): Promise<void> {
  await tx
    .updateTable('agents')
    .set((eb) => ({ placed: eb('placed', '-', 1) }))
    .where('id', '=', hostId)
    .execute()
}

function details(db: Queries) {
  return db
    .selectFrom('sessions as s')
    .innerJoin('people as p', 'p.id', 's.person_id')
    .innerJoin('agents as m', (join) =>
      join.on('m.id', '=', (eb) => eb.fn.coalesce('s.host_id', 's.endpoint_id')),
    )
    .innerJoin('workspaces as w', 'w.id', 's.workspace_id')
    .selectAll('s')
    .select([
      'p.login as person_login',
      'p.name as person_name',
      'm.name as machine_name',
      'w.definition as workspace',
      'w.deleted_at as workspace_deleted_at',
    ])
}

export async function sessionById(db: Queries, id: string): Promise<SessionDetail | undefined> {
  return details(db).where('s.id', '=', id).executeTakeFirst()
}

export async function sessionsByIds(db: Queries, ids: readonly string[]): Promise<readonly SessionDetail[]> {
  return details(db).where(sql<boolean>`s.id = any(${ids}::uuid[])`).execute()
}

export async function liveSessions(
  db: Queries,
  filter: {
    readonly personId?: string
    readonly hostId?: string
    readonly endpointId?: string
    readonly workspaceId?: string
  } = {},
): Promise<readonly SessionDetail[]> {
  let query = details(db).where('s.state', 'in', live).orderBy('s.started_at').limit(5_000)
  if (filter.personId !== undefined) query = query.where('s.person_id', '=', filter.personId)
  if (filter.hostId !== undefined) query = query.where('s.host_id', '=', filter.hostId)
  if (filter.endpointId !== undefined) query = query.where('s.endpoint_id', '=', filter.endpointId)
  if (filter.workspaceId !== undefined) query = query.where('s.workspace_id', '=', filter.workspaceId)
  return query.execute()
}

function sessionsLike(db: Queries, filter: Pick<Page, 'search'>) {
  return details(db)
    .where('s.state', 'in', live)
    .where(isFound(filter, ['p.login', 'p.name', 's.workspace_id', 'm.name']))
}

/** Live sessions, oldest first; a search looks at the names of person, workspace and machine. */
export async function listLiveSessions(db: Queries, page: Page): Promise<readonly SessionDetail[]> {
  return sessionsLike(db, page)
    .where(isBehind(page, 'sessions', 's', ['started_at', 'id']))
    .orderBy('s.started_at')
    .orderBy('s.id')
    .limit(page.limit)
    .execute()
}

export async function countLiveSessions(db: Queries, filter: Pick<Page, 'search'>): Promise<number> {
  const { all } = await sessionsLike(db, filter)
    .clearSelect()
    .select((eb) => eb.fn.countAll<string>().as('all'))
    .executeTakeFirstOrThrow()
  return Number(all)
}

export type SessionChange = Partial<
  Pick<
    SessionRow,
    | 'connected'
    | 'rights'
    | 'last_input_at'
    | 'ends_at'
    | 'web_session_id'
    | 'from_endpoint_id'
    | 'decision_id'
  > & { restrictions: string; obligations: string; evidence: string }
>

/**
 * Changes a session that has not ended. INVARIANT: its state is not among what is changed. Each way from one state to the next is a function
 * of its own that looks at the state as it writes, so that nobody puts back what another has moved on.
 */
export async function updateSession(db: Queries, id: string, change: SessionChange): Promise<boolean> {
  const row = await db
    .updateTable('sessions')
    .set(change)
    .where('id', '=', id)
    .where('state', '<>', 'ended')
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** starting → ready: its machine says that it runs. One that was frozen or has ended meanwhile stays so. */
export async function readySession(db: Queries, id: string): Promise<void> {
  await db
    .updateTable('sessions')
    .set({ state: 'ready' })
    .where('id', '=', id)
    .where('state', '=', 'starting')
    .execute()
}

/** starting or ready → ending: nothing passes any more, and at `end.at` it is over. The first reason stands. */
export async function freezeSession(db: Queries, id: string, end: SessionEnd): Promise<boolean> {
  const row = await db
    .updateTable('sessions')
    .set({ state: 'ending', end: JSON.stringify(end) })
    .where('id', '=', id)
    .where('state', 'in', ['starting', 'ready'])
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** ending → ready, under new terms: trust has returned. */
export async function thawSession(db: Queries, id: string, terms: SessionChange): Promise<boolean> {
  const row = await db
    .updateTable('sessions')
    .set({ ...terms, state: 'ready', end: null })
    .where('id', '=', id)
    .where('state', '=', 'ending')
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** Ends a session once: of several callers one gets the row. Frees its place, if it has one on a host. */
export async function endSession(
  db: Db,
  id: string,
  end: SessionEnd,
  at: Date,
): Promise<SessionRow | undefined> {
  return db.transaction().execute(async (tx) => {
    const row = await tx
      .updateTable('sessions')
      .set((eb) => ({
        state: 'ended',
        connected: false,
        ended_at: at,
        end: sql`coalesce(${eb.ref('end')}, ${JSON.stringify(end)}::jsonb)`,
      }))
      .where('id', '=', id)
      .where('state', '<>', 'ended')
      .returningAll()
      .executeTakeFirst()
    if (row !== undefined && row.host_id !== null) {
      // One that came while its person was deleted has made a home, too.
      await oweHomes(tx, sql`s.id = ${id}`)
      await freePlace(tx, row.host_id)
    }
    return row
  })
}

/** Sessions whose time has come: `ending` past its grace, or past the session length. */
export async function dueSessions(db: Db, now: Date): Promise<readonly string[]> {
  const rows = await db
    .selectFrom('sessions')
    .select('id')
    .where((eb) =>
      eb.or([
        eb.and([eb('state', '=', 'ending'), eb(sql`("end"->>'at')::timestamptz`, '<', now)]),
        eb.and([eb('state', 'in', ['starting', 'ready']), eb('ends_at', '<', now)]),
      ]),
    )
    .limit(500)
    .execute()
  return rows.map(({ id }) => id)
}

/**
 * Asks for every live session that `filter` names to be decided again. Rows are locked in one order. What somebody asked for is not put off
 * by a sweep.
 */
export async function requestRedecisions(
  db: Queries,
  cause: string,
  at: Date,
  filter: {
    readonly personId?: PersonRow['id']
    readonly webSessionId?: string
    readonly sessionId?: string
    /** Opened from this endpoint, or in a browser that was seen on it, wherever they run. */
    readonly fromEndpointId?: string
  } = {},
): Promise<void> {
  await db
    .insertInto('redecisions')
    .columns(['session_id', 'cause', 'requested_at'])
    .expression((eb) => {
      let query = eb
        .selectFrom('sessions')
        .select(['id', sql<string>`${cause}`.as('cause'), sql<Date>`${at}::timestamptz`.as('requested_at')])
        .where('state', 'in', live)
        .orderBy('id')
      if (filter.personId !== undefined) query = query.where('person_id', '=', filter.personId)
      if (filter.webSessionId !== undefined) query = query.where('web_session_id', '=', filter.webSessionId)
      const { fromEndpointId } = filter
      if (fromEndpointId !== undefined)
        query = query.where((on) =>
          on.or([
            on('from_endpoint_id', '=', fromEndpointId),
            on(
              'web_session_id',
              'in',
              on
                .selectFrom('browser_endpoints')
                .select('browser_endpoints.web_session_id')
                .where('browser_endpoints.endpoint_id', '=', fromEndpointId),
            ),
          ]),
        )
      if (filter.sessionId !== undefined) query = query.where('id', '=', filter.sessionId)
      return query
    })
    .onConflict((conflict) =>
      conflict
        .column('session_id')
        .doUpdateSet((eb) => ({
          cause: eb.ref('excluded.cause'),
          requested_at: eb.ref('excluded.requested_at'),
        }))
        .where('excluded.cause', '<>', 'sweep'),
    )
    .execute()
}

/** Of those that were taken together so many are worked at a time: each needs a connection, and others need some, too. */
const workedAtOnce = 4

/**
 * Takes requested re-decisions, those of a sweep last, works them, and only then removes them: a node that dies leaves them to another,
 * and so does work that fails. A request for a session that is being worked waits until that is over, then stands anew.
 *
 * @param findSettled asked once for all that were taken: those on which no work is needed
 * @returns how many were worked
 * @throws the first failure of `work`, after the others were worked
 */
export async function workRedecisions(
  db: Db,
  work: (sessionId: string, cause: Database['redecisions']['cause']) => Promise<void>,
  findSettled: (sessionIds: readonly string[]) => Promise<ReadonlySet<string>> = async () => new Set(),
): Promise<number> {
  const { worked, failures } = await db.transaction().execute(async (tx) => {
    const rows = await tx
      .selectFrom('redecisions')
      .selectAll()
      .orderBy(sql`cause = 'sweep'`)
      .orderBy('requested_at')
      .limit(50)
      .forUpdate()
      .skipLocked()
      .execute()
    const settled = rows.length === 0 ? new Set() : await findSettled(rows.map((row) => row.session_id))
    const left = rows.filter((row) => !settled.has(row.session_id))
    const worked = rows.map((row) => row.session_id).filter((id) => settled.has(id))
    const failures: unknown[] = []
    const workOn = async (): Promise<void> => {
      for (let row = left.shift(); row !== undefined; row = left.shift()) {
        const { session_id: id, cause } = row
        await work(id, cause).then(
          () => worked.push(id),
          (error: unknown) => failures.push(error),
        )
      }
    }
    await Promise.all(Array.from({ length: workedAtOnce }, workOn))
    if (worked.length > 0) await tx.deleteFrom('redecisions').where('session_id', 'in', worked).execute()
    return { worked, failures }
  })
  if (failures.length > 0) throw failures[0]
  return worked.length
}
