import { randomBytes, randomUUID } from 'node:crypto'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { startPostgres } from '#adapters/postgres-embedded/index.ts'
import {
  insertAgent,
  insertPerson,
  insertWebSession,
  migrate,
  type NewSession,
  openStore,
  placeOnEndpoint,
  placeSession,
  recordHostHello,
  writeWorkspace,
} from '#adapters/store-postgres/index.ts'
import { sessionRow } from '#adapters/store-postgres/session-row.fixture.ts'
import { siteConfig } from '#apps/site/config.ts'
import { disposable, openSite } from '#apps/site/open-site.ts'
import type { Site } from '#apps/site/site.ts'
import { type AuditEntry, type AuditKind, decodeEntry } from '#core/audit/index.ts'

/** Nodes of one site in this process, without ports and with nothing that runs by itself: for what shows between two steps only. */
export interface SiteNodes extends AsyncDisposable {
  readonly one: Site
  readonly two: Site
  /** Ends with them. */
  readonly signal: AbortSignal
  entries(kind: AuditKind): Promise<readonly AuditEntry[]>
}

export async function openNodes(): Promise<SiteNodes> {
  await using undo = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'tc-'))
  undo.defer(() => rm(folder, { recursive: true }))
  await chmod(folder, 0o711)
  const server = await startPostgres({ stateDir: join(folder, 'db'), log: { info() {}, warn() {} } })
  undo.defer(() => server.stop())
  const config = siteConfig.parse({
    name: 'test',
    state: join(folder, 'site'),
    url: 'https://localhost:1',
    listen: { port: 1 },
    agents: { url: 'https://localhost:2', port: 2 },
    database: server.connection,
  })
  const stopped = new AbortController()
  const open = async (): Promise<Site> => {
    const store = undo.use(disposable(openStore(server.connection)))
    return openSite(config, store, pino({ level: 'silent' }), stopped.signal)
  }
  await migrate(server.connection)
  const [one, two] = await Promise.all([open(), open()])
  undo.defer(() => stopped.abort())
  const held = undo.move()
  return {
    one,
    two,
    signal: stopped.signal,
    entries: async (kind) => {
      const rows = await one.store.db.selectFrom('audit_entries').select('entry').orderBy('index').execute()
      return rows.map(({ entry }) => decodeEntry(entry)).filter((entry) => entry.kind === kind)
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}

const workspaceId = 'desk'

/** A host, and a workspace for it. @returns the host's id */
export async function addHost(site: Site): Promise<string> {
  const { db } = site.store
  const definition = { id: workspaceId, name: 'Desk', description: '', icon: 'desktop', pool: 'default' }
  await writeWorkspace(
    db,
    { ...definition, modes: ['hosted-shared'], collections: [], program: { kind: 'desktop' } },
    0,
  )
  const id = await addMachine(site, 'host')
  await recordHostHello(db, id, { host_key: randomBytes(32), capacity: 1000, last_seen_at: new Date() })
  return id
}

/** @returns the person's id */
export async function addPerson({ store: { db } }: Site, groups: string[] = []): Promise<string> {
  const id = randomUUID()
  await insertPerson(db, { id, login: id, name: id, password: null, groups, created_at: new Date() })
  return id
}

/** A session of a new person who is signed in. @returns its id */
export async function addSession(
  site: Site,
  hostId: string,
  change: Partial<NewSession> = {},
): Promise<string> {
  const row = { ...(await sessionOf(site)), host_id: hostId, mode: 'hosted-shared' as const, ...change }
  await placeSession(site.store.db, { ...row, host_id: hostId })
  return row.id
}

/** A lease of a new person on a new endpoint, and its session. @returns its id */
export async function addLease(site: Site, expiresAt: Date): Promise<string> {
  const endpointId = await addMachine(site, 'endpoint')
  const mode = 'streamed-disk' as const
  const row = { ...(await sessionOf(site)), host_id: null, endpoint_id: endpointId, mode }
  const { person_id, workspace_id, started_at: made_at } = row
  const id = randomUUID()
  await placeOnEndpoint(site.store.db, row, {
    id,
    session_id: row.id,
    person_id,
    endpoint_id: endpointId,
    workspace_id,
    image: 'office',
    version: '1',
    counter: '1',
    manifest_digest: '',
    mode,
    overlay: 'discard',
    state: 'held',
    made_at,
    expires_at: expiresAt,
  })
  return id
}

async function addMachine({ store: { db } }: Site, kind: 'host' | 'endpoint'): Promise<string> {
  const id = randomUUID()
  const certificate_expires_at = new Date(Date.now() + 3_600_000)
  await insertAgent(db, { id, kind, name: id, dns_names: [], pool: 'default', certificate_expires_at })
  return id
}

/** A new person, and the browser that they are signed in with. */
export async function addSignIn(
  site: Site,
): Promise<{ readonly person_id: string; readonly web_session_id: string }> {
  const web_session_id = randomUUID()
  const person_id = await addPerson(site)
  const now = new Date()
  const later = new Date(now.getTime() + 3_600_000)
  const seen = { created_at: now, last_seen_at: now, expires_at: later, address: '127.0.0.1' }
  const web = { ...seen, id: web_session_id, token_hash: randomBytes(32), person_id, thumbprint: '' }
  await insertWebSession(site.store.db, web, null)
  return { person_id, web_session_id }
}

async function sessionOf(site: Site) {
  const { person_id, web_session_id } = await addSignIn(site)
  return { ...sessionRow(person_id, workspaceId), web_session_id, state: 'ready' as const }
}
