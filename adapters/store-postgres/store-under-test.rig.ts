import { randomBytes, randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import { expect } from 'vitest'
import type { WorkspaceDefinition } from '#core/api/admin.ts'
import { decodeEntryBundle, type FileReader, parseTilePath, TILE_WIDTH } from '#core/audit/index.ts'
import {
  type Db,
  insertAgent,
  type NewEvidence,
  type NewSession,
  placeOnEndpoint,
  readCheckpoint,
  readTile,
  recordHostHello,
  type Store,
  type StoreAddress,
  type WebSessionRow,
  workRedecisions,
} from './index.ts'
import { sessionRow } from './session-row.fixture.ts'

/** A PostgreSQL server of a test's own, with an empty database that the address's role owns. */
export interface TestServer extends AsyncDisposable {
  readonly address: StoreAddress
  /** The running server's. */
  pid(): number
  /** Resolves when the server is gone; it must be running. */
  stop(how: 'in order' | 'killed'): Promise<void>
  /** Starts the stopped server again and resolves when it takes connections. */
  start(): Promise<void>
}

/** The store that a contract holds to its promises, with an empty database for each test. */
export interface StoreUnderTest {
  readonly server: TestServer
  /** Two site nodes. */
  readonly db: Db
  readonly other: Db
  /** Another node, which is closed after the test. */
  open(): Store
}

/** The same by both nodes, many times. */
export async function atOnce<T>(
  { db, other }: StoreUnderTest,
  work: (from: Db) => Promise<T>,
): Promise<readonly T[]> {
  return Promise.all(Array.from({ length: 20 }, (_, i) => work(i % 2 === 0 ? db : other)))
}

export async function failureOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  )
}

export function personOf(login: string) {
  return { id: randomUUID(), login, name: login, password: null, groups: [], created_at: new Date() }
}

export async function addPerson(db: Db): Promise<string> {
  const person = personOf(`p-${randomUUID()}`)
  await db.insertInto('people').values(person).execute()
  return person.id
}

export async function addHost(db: Db, capacity: number): Promise<string> {
  const id = randomUUID()
  const certificate_expires_at = new Date(Date.now() + 3_600_000)
  await insertAgent(db, {
    id,
    kind: 'host',
    name: id,
    dns_names: [],
    pool: 'default',
    certificate_expires_at,
  })
  await recordHostHello(db, id, { host_key: randomBytes(32), capacity, last_seen_at: new Date() })
  return id
}

export const workspace: WorkspaceDefinition = {
  id: 'desk',
  name: 'Desk',
  description: '',
  icon: 'desktop',
  pool: 'default',
  modes: ['streamed-disk'],
  collections: [],
  program: { kind: 'desktop' },
  disk: { image: 'office', channel: 'production', application: 'office' },
}

export function inMinutes(minutes: number): Date {
  return new Date(Date.now() + minutes * 60_000)
}

export async function addEndpoint(db: Db): Promise<string> {
  const id = randomUUID()
  const certificate_expires_at = new Date(Date.now() + 3_600_000)
  await insertAgent(db, {
    id,
    kind: 'endpoint',
    name: id,
    dns_names: [],
    pool: 'default',
    certificate_expires_at,
  })
  return id
}

export function diskOf(personId: string, endpointId: string) {
  const { host_id: _, ...hosted } = sessionOf(personId, '')
  const session = {
    ...hosted,
    mode: 'streamed-disk' as const,
    host_id: null,
    endpoint_id: endpointId,
    from_endpoint_id: endpointId,
  }
  const lease = {
    id: randomUUID() as string,
    session_id: session.id,
    person_id: personId,
    endpoint_id: endpointId,
    workspace_id: session.workspace_id,
    image: 'office',
    version: '1',
    counter: '1',
    manifest_digest: 'a'.repeat(64),
    mode: 'streamed-disk' as const,
    overlay: 'discard' as const,
    state: 'offered' as const,
    made_at: new Date(),
    expires_at: new Date(Date.now() + 900_000),
  }
  return { session, lease }
}

export async function addDisk(db: Db, personId: string, endpointId: string) {
  const disk = diskOf(personId, endpointId)
  expect(await placeOnEndpoint(db, disk.session, disk.lease)).toBe('placed')
  return disk
}

export function sessionOf(personId: string, hostId: string, workspaceId = 'desk') {
  const row = { ...sessionRow(personId, workspaceId), web_session_id: null }
  return { ...row, host_id: hostId, mode: 'hosted-shared' } satisfies NewSession
}

export function endOf(reason = 'asked to') {
  return { code: 'SESSION_OVER', reason, unlocks: [], at: new Date().toISOString() }
}

/** Processes of the server whose last query is like `pattern`, beside the one that answers this. */
export async function backends(db: Db, pattern: string): Promise<readonly number[]> {
  const { rows } = await sql<{ pid: number }>`
    select pid from pg_stat_activity where query like ${pattern} and pid <> pg_backend_pid()`.execute(db)
  return rows.map(({ pid }) => pid)
}

/** How many places the host counts, and how many sessions truly hold one. */
export async function placedOn(db: Db, hostId: string): Promise<{ placed: number; live: number }> {
  const { placed } = await db
    .selectFrom('agents')
    .select('placed')
    .where('id', '=', hostId)
    .executeTakeFirstOrThrow()
  const { live } = await db
    .selectFrom('sessions')
    .select((eb) => eb.fn.countAll<string>().as('live'))
    .where('host_id', '=', hostId)
    .where('state', '<>', 'ended')
    .executeTakeFirstOrThrow()
  return { placed, live: Number(live) }
}

export function idsOf(sessions: readonly NewSession[]): readonly string[] {
  return sessions.map(({ id }) => id).toSorted()
}

export async function workAll(db: Db): Promise<readonly { readonly id: string; readonly cause: string }[]> {
  const worked: { id: string; cause: string }[] = []
  await workRedecisions(db, async (id, cause) => {
    worked.push({ id, cause })
  })
  return worked
}

export function filesOf(db: Db): FileReader {
  return async (path) => {
    if (path === 'checkpoint') {
      const checkpoint = await readCheckpoint(db)
      return checkpoint === undefined ? undefined : Buffer.from(checkpoint)
    }
    const tile = parseTilePath(path)
    return tile === undefined ? undefined : readTile(db, tile)
  }
}

export async function readEntries(db: Db): Promise<readonly string[]> {
  const { size } = await db.selectFrom('audit_head').select('size').executeTakeFirstOrThrow()
  const entries: string[] = []
  while (entries.length < Number(size)) {
    const index = BigInt(entries.length / TILE_WIDTH)
    const width = Math.min(TILE_WIDTH, Number(size) - entries.length)
    const bundle = (await readTile(db, { level: 'entries', index, width })) ?? Buffer.alloc(0)
    for (const entry of decodeEntryBundle(bundle, width)) entries.push(Buffer.from(entry).toString())
  }
  return entries
}

export function webSessionOf(person_id: string): WebSessionRow {
  const now = new Date()
  const times = { created_at: now, last_seen_at: now, expires_at: new Date(now.getTime() + 60_000) }
  const token_hash = randomBytes(32)
  return { id: randomUUID(), token_hash, person_id, thumbprint: 'x', address: '127.0.0.1', ...times }
}

export function evidence(endpoint_id: string, change: Partial<NewEvidence> = {}): NewEvidence {
  return {
    endpoint_id,
    version: 1,
    sequence: 3,
    basis: 2,
    last_at: inMinutes(-1),
    address: '10.0.0.1',
    observations: '[]',
    attested: null,
    seen: null,
    path: null,
    beacon: null,
    forked_at: null,
    silent: false,
    settled: '{}',
    fallen: '{}',
    fell_at: null,
    changes: '[]',
    ...change,
  }
}

export function repeated(endpointId: string, after: number) {
  return {
    endpointId,
    after,
    sequence: after + 1,
    basis: after,
    at: Date.now(),
  }
}
