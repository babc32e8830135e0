import { randomUUID } from 'node:crypto'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CompiledQuery, type Kysely, type KyselyPlugin, type RootOperationNode, sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type EmbeddedPostgres, startPostgres } from '#adapters/postgres-embedded/index.ts'
import {
  awaitedDiscards,
  belongingsOf,
  type Db,
  disownDeleted,
  dueSessions,
  endLease,
  expiredLeases,
  hostedCopies,
  type KeptCopyRow,
  keptCopies,
  lastAlarm,
  leasedCopies,
  listAgents,
  listDecisions,
  liveSessions,
  newestLeased,
  onlineAgents,
  openLeases,
  openStore,
  openTickets,
  pausedCopies,
  pausedLeases,
  proveEntry,
  requestRedecisions,
  type Store,
  sessionsOfDeleted,
  unaskedDiscards,
} from '#adapters/store-postgres/index.ts'
import { up as site } from '#adapters/store-postgres/migrations/0001-site.ts'
import { up as releases } from '#adapters/store-postgres/migrations/0004-releases.ts'
import { up as addEndpoints } from '#adapters/store-postgres/migrations/0005-endpoints.ts'
import { up as evidence } from '#adapters/store-postgres/migrations/0006-evidence.ts'
import { up as tpm } from '#adapters/store-postgres/migrations/0007-tpm.ts'
import { up as timeline } from '#adapters/store-postgres/migrations/0008-timeline.ts'
import { up as handoff } from '#adapters/store-postgres/migrations/0009-handoff.ts'
import { up as replicas } from '#adapters/store-postgres/migrations/0010-replicas.ts'
import { up as farewells } from '#adapters/store-postgres/migrations/0011-farewells.ts'
import { up as pausedMemory } from '#adapters/store-postgres/migrations/0012-paused-memory.ts'
import { up as addHistory } from '#adapters/store-postgres/migrations/0014-history.ts'
import { up as deletion } from '#adapters/store-postgres/migrations/0015-deletion.ts'
import { up as overlayScope } from '#adapters/store-postgres/migrations/0016-overlay-scope.ts'
import { up as discards } from '#adapters/store-postgres/migrations/0017-discards.ts'
import { up as succession } from '#adapters/store-postgres/migrations/0018-succession.ts'
import { up as releaseAlarm } from '#adapters/store-postgres/migrations/0019-release-alarm.ts'

const before = [
  site,
  releases,
  addEndpoints,
  evidence,
  tpm,
  timeline,
  handoff,
  replicas,
  farewells,
  pausedMemory,
]

/** What a site is asked all day costs what there is now, not what there ever was. */

const history = 20_000
const endpoints = 5_000
/** Tables that only grow, and the one in which very many endpoints are beside few hosts. */
const long = [
  'sessions',
  'leases',
  'decisions',
  'alarms',
  'agents',
  'audit_entries',
  'audit_hashes',
  'audit_subjects',
]

let folder: string
let server: EmbeddedPostgres
let store: Store
let db: Db
let endpoint: string
let person: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tc-'))
  await chmod(folder, 0o711)
  server = await startPostgres({ stateDir: join(folder, 's'), log: { info() {}, warn() {} } })
  store = openStore(server.connection)
  db = store.db
  // As it was written before: of every lease that kept something nobody had said yet whether it stands.
  for (const up of before) await up(db as unknown as Kysely<unknown>)
  await db.connection().execute(async (one) => {
    for (const statement of made) await sql.raw(statement).execute(one)
  })
  await addHistory(db as unknown as Kysely<unknown>)
  for (const up of [deletion, overlayScope, discards, succession, releaseAlarm])
    await up(db as unknown as Kysely<unknown>)
  await sql`analyze`.execute(db)
  ;({ id: endpoint } = await db
    .selectFrom('agents')
    .select('id')
    .where('name', '=', 'laptop-1')
    .executeTakeFirstOrThrow())
  ;({ id: person } = await db.selectFrom('people').select('id').limit(1).executeTakeFirstOrThrow())
}, 120_000)

afterAll(async () => {
  await store.close()
  await server.stop()
  await rm(folder, { recursive: true })
})

const asked: Readonly<Record<string, (db: Db) => Promise<unknown>>> = {
  'what an endpoint may hold': (on) => openLeases(on, endpoint),
  'what stands still in its memory': (on) => pausedLeases(on, endpoint, new Date(0)),
  'which release it was given last': (on) => newestLeased(on, endpoint, 'desk'),
  'leases past their end': (on) => expiredLeases(on, new Date()),
  'sessions past their end': (on) => dueSessions(on, new Date()),
  'the sessions of a person': (on) => liveSessions(on, { personId: person }),
  'all sessions': (on) => liveSessions(on),
  'to decide all again': (on) => requestRedecisions(on, 'sweep', new Date()),
  'to decide again what a web session holds': (on) =>
    requestRedecisions(on, 'zone', new Date(), { webSessionId: randomUUID() }),
  'to decide again what an endpoint holds': (on) =>
    requestRedecisions(on, 'evidence', new Date(), { fromEndpointId: endpoint }),
  'sessions of who was deleted': sessionsOfDeleted,
  'what a person has beside copies': (on) => belongingsOf(on, person),
  'machines of who was deleted': disownDeleted,
  'what is owed by machines': unaskedDiscards,
  'what an endpoint shall discard': (on) => awaitedDiscards(on, endpoint, 100),
  'the hosts': (on) => listAgents(on, 'host'),
  'where a session can be placed': (on) => onlineAgents(on, 'host', new Date(0)),
  'tickets of a host': (on) => openTickets(on, randomUUID(), new Date()),
  'when the brake was last on': (on) => lastAlarm(on, 'brake'),
  'the latest decisions': (on) => listDecisions(on, { limit: 50 }),
  'the proof of an entry of the log': (on) => proveEntry(on, 7n),
  'copies on hosts': hostedCopies,
  'copies that endpoints hold': leasedCopies,
  'copies in memory': (on) => pausedCopies(on, new Date(0)),
  'copies that were left': (on) => keptCopies(on, new Date()),
}

test.each(Object.entries(asked))('%s: no table is read whole', async (_, ask) => {
  const plans = await plansOf(ask)
  expect(plans.length).toBeGreaterThan(0)
  expect(plans.flatMap(readWhole).filter((table) => long.includes(table))).toEqual([])
})

test('whose row goes is found by an index in every table that names it', async () => {
  const { rows } = await sql<{ table: string; column: string }>`
    select c.conrelid::regclass::text as table, a.attname as column
    from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
    where c.contype = 'f' and c.confrelid in ('web_sessions'::regclass, 'sessions'::regclass)
      and not exists (select from pg_index i where i.indrelid = c.conrelid and i.indkey[0] = c.conkey[1])`.execute(
    db,
  )
  expect(rows).toEqual([])
})

test('of the leases that kept one overlay the last stands for those before it, until it is discarded', async () => {
  const each = history / endpoints
  expect(await keptCopies(db, new Date())).toHaveLength(20)
  expect(await left()).toMatchObject([{ written: String(5 * each) }])
  const next = await begin()
  expect(await left()).toEqual([])
  expect(await endLease(db, next, new Date())).toBe(true)
  expect(await left()).toMatchObject([{ id: next, written: String(5 * (each + 1)) }])
  expect(await standing()).toBe(1)

  // As the silence of an endpoint ends it: it may have been switched off, and have discarded nothing.
  const silent = await begin({ overlay: 'discard' })
  await endLease(db, silent, new Date(inAnHour().getTime() + 1))
  expect(await left()).toMatchObject([{ id: silent, written: String(5 * (each + 2)) }])
  await endLease(db, await begin({ overlay: 'discard' }), new Date())
  expect(await left()).toEqual([])
  expect(await standing()).toBe(0)
})

test('of virtual machines of one image each workspace has its own: what one discards is no other’s', async () => {
  await sql`insert into workspaces (id, position, definition) values ('lab', 1, '{}')`.execute(db)
  const kept = await begin({ workspace_id: 'lab' })
  await endLease(db, kept, new Date())
  await endLease(db, await begin({ overlay: 'discard' }), new Date())
  expect(await left()).toMatchObject([{ id: kept, written: '5' }])
  await endLease(db, await begin({ workspace_id: 'lab', overlay: 'discard' }), new Date())
  expect(await left()).toEqual([])
})

test('of two leases that end at once neither is forgotten', async () => {
  const [one, two] = [await begin(), await begin()]
  await Promise.all([endLease(db, one, new Date()), endLease(db, two, new Date())])
  expect(await left()).toMatchObject([{ written: '10' }])
  await endLease(db, await begin(), new Date())
  expect(await left()).toMatchObject([{ written: '15' }])
  expect(await standing()).toBe(1)
})

test('a lease that a node of an older version ended is counted, too', async () => {
  const id = await begin()
  await db.updateTable('leases').set({ state: 'ended', ended_at: new Date() }).where('id', '=', id).execute()
  expect(await left()).toMatchObject([{ id, written: '20' }])
})

async function left(): Promise<readonly KeptCopyRow[]> {
  return (await keptCopies(db, new Date())).filter(({ endpoint_id }) => endpoint_id === endpoint)
}

/** A lease under which 5 bytes were written. */
async function begin(
  change: { readonly overlay?: 'discard'; readonly workspace_id?: string } = {},
): Promise<string> {
  const like = await db
    .selectFrom('leases')
    .selectAll()
    .where('endpoint_id', '=', endpoint)
    .limit(1)
    .executeTakeFirstOrThrow()
  const session = await db.selectFrom('sessions').selectAll().limit(1).executeTakeFirstOrThrow()
  const [id, session_id] = [randomUUID(), randomUUID()]
  await db
    .insertInto('sessions')
    .values({
      ...session,
      id: session_id,
      restrictions: JSON.stringify(session.restrictions),
      obligations: JSON.stringify(session.obligations),
      evidence: JSON.stringify(session.evidence),
      end: null,
    })
    .execute()
  const { superseded: _, written_before: __, scope: ___, ...row } = like
  const fresh = { id, session_id, state: 'held' as const, ended_at: null, expires_at: inAnHour() }
  await db
    .insertInto('leases')
    .values({
      ...row,
      ...fresh,
      notice: null,
      overlay: 'keep',
      paused_at: null,
      stats: JSON.stringify(row.stats),
      ...change,
    })
    .execute()
  return id
}

function inAnHour(): Date {
  return new Date(Date.now() + 3_600_000)
}

async function standing(): Promise<number> {
  const { rows } = await sql<{ n: number }>`
    select count(*)::int as n from leases where endpoint_id = ${endpoint} and state = 'ended' and not superseded`.execute(
    db,
  )
  return rows[0]?.n ?? 0
}

/** How the server would answer what is asked of it. */
async function plansOf(ask: (db: Db) => Promise<unknown>): Promise<readonly Plan[]> {
  const nodes: RootOperationNode[] = []
  const heard: KyselyPlugin = {
    transformQuery: ({ node }) => {
      nodes.push(node)
      return node
    },
    transformResult: async ({ result }) => result,
  }
  await ask(db.withPlugin(heard))
  const explained = nodes.map(async (node) => {
    const query = db.getExecutor().compileQuery(node, { queryId: 'explained' })
    const { rows } = await db.executeQuery<{ 'QUERY PLAN': readonly [{ Plan: Plan }] }>(
      CompiledQuery.raw(`explain (format json) ${query.sql}`, [...query.parameters]),
    )
    return rows[0]!['QUERY PLAN'][0].Plan
  })
  return Promise.all(explained)
}

interface Plan {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly Plans?: readonly Plan[]
}

function readWhole(plan: Plan): readonly string[] {
  const own = plan['Node Type'] === 'Seq Scan' ? [plan['Relation Name'] ?? ''] : []
  return [...own, ...(plan.Plans ?? []).flatMap(readWhole)]
}

/** On most endpoints what was written is gone; on the first 20 it was left. Some stand in memory, none holds anything. */
const made: readonly string[] = [
  `insert into people (id, login, name, groups, created_at) values (gen_random_uuid(), 'nora', 'Nora', '{}', now())`,
  `insert into workspaces (id, position, definition) values ('desk', 0, '{}')`,
  `insert into releases (name, version, counter, content_version, manifest_digest, published_at) values ('desk', '1', 1, '1', 'd', now())`,
  `insert into agents (id, kind, name, dns_names, pool, certificate_expires_at, report, last_seen_at)
   select gen_random_uuid(), 'endpoint', 'laptop-' || n, '{}', 'default', now(), '{}', now() from generate_series(1, ${endpoints}) n`,
  `create temp table past as
   select gen_random_uuid() as session, gen_random_uuid() as lease, p.id as person, m.id as endpoint, m.place <= 20 as kept,
     now() - n * interval '1 second' as at, n
   from people p, generate_series(1, ${history}) n
   join (select id, row_number() over (order by name = 'laptop-1' desc, name) as place from agents) m on m.place = n % ${endpoints} + 1`,
  `insert into sessions (id, person_id, workspace_id, endpoint_id, mode, account, width, height, state, rights, restrictions, obligations,
     evidence, decision_id, started_at, ends_at)
   select session, person, 'desk', endpoint, 'local-vm', 'a', 1, 1, 'ended', '{}', '[]', '{}', '[]', gen_random_uuid(), at, at from past`,
  `insert into leases (id, session_id, person_id, endpoint_id, workspace_id, image, version, counter, manifest_digest, mode, overlay,
     overlay_at_start, state, made_at, key_released_at, expires_at, ended_at, stats)
   select lease, session, person, endpoint, 'desk', 'desk', '1', 1, 'd', 'local-vm', case when kept then 'keep' else 'discard' end,
     'keep', 'ended', at, at, at + interval '1 hour', at, '{"bytesWritten": 5}' from past`,
  `update leases set paused_at = now() where id in (select lease from past where n % 1000 = 500)`,
  `insert into decisions (id, at, person_id, workspace_id, cause, zone, decision, audit_index)
   select gen_random_uuid(), at, person, 'desk', 'launch', 'office', '{}', n from past`,
  `insert into audit_entries (index, entry) select n, '' from generate_series(0, ${history - 1}) n`,
  `insert into audit_hashes (level, index, hash)
   select level, n, '' from generate_series(0, 1) level, generate_series(0, ${history} / (256 ^ level)::int - 1) n`,
  `insert into audit_head (size, frontier, checkpoint) values (${history}, '', '')`,
  `insert into alarms (id, key, kind, message, remedy, raised_at, ended_at)
   select gen_random_uuid(), 'verifier-' || n, 'verifier', '', '', at, at from past`,
]
