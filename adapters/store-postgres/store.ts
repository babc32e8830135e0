import { Kysely, PostgresDialect, sql } from 'kysely'
import { Client, type ClientConfig, Pool, type PoolConfig } from 'pg'
import type { Database } from './schema.ts'
import { StoreError } from './store-error.ts'

export type Db = Kysely<Database>

/** Where PostgreSQL is: a unix socket's directory or a server. */
export type StoreAddress =
  | { readonly host: string; readonly port: number; readonly user: string; readonly database: string }
  | { readonly url: string }

export interface Store {
  readonly db: Db
  /**
   * Tells every site node that something changed, after the caller's transaction committed.
   * Hints only: whoever misses one finds the truth in the tables.
   */
  notify(hint: Hint): Promise<void>
  /** Calls `onHint` for every node's hints, and with `{ topic: 'lost' }` after hints may have been missed. */
  listen(onHint: (hint: Hint) => void, signal: AbortSignal): void
  close(): Promise<void>
}

export type Hint =
  | {
      readonly topic:
        | 'lost'
        | 'policy'
        | 'zones'
        | 'workspaces'
        | 'redecide'
        | 'gateways'
        | 'agents'
        | 'alarms'
        | 'deleted'
        | 'returning'
    }
  | { readonly topic: 'host' | 'endpoint' | 'ticket' | 'person'; readonly id: string }

/** Unix ms. */
export async function databaseTime(db: Db): Promise<number> {
  const { rows } = await sql<{ at: Date }>`select clock_timestamp() as at`.execute(db)
  return rows[0]?.at.getTime() ?? Number.NaN
}

const channel = 'trustcast'
const reconnectMs = 500

/** Tells every node when the transaction has committed, also when this process has ended by then. */
export async function tellIn(tx: Db, hint: Hint): Promise<void> {
  await sql`select pg_notify(${channel}, ${JSON.stringify(hint)})`.execute(tx)
}

/**
 * Opens the pool. It connects when first used, so this succeeds while the database is away.
 *
 * @throws {StoreError} STORE_URL_MALFORMED, STORE_PLAINTEXT
 */
export function openStore(address: StoreAddress, poolSize = 10): Store {
  const config = connectionConfig(address)
  const pool = openPool({ ...config, max: poolSize, idleTimeoutMillis: 30_000 })
  const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool }) })
  return {
    db,
    notify: async (hint) => {
      await pool.query('select pg_notify($1, $2)', [channel, JSON.stringify(hint)])
    },
    listen: (onHint, signal) => void listenForever(config, onHint, signal),
    close: async () => db.destroy(),
  }
}

/** One connection for what may take long, such as a migration or waiting for another node's: no time ends a statement. */
export function openUntimed(address: StoreAddress): Db {
  const untimed = { statement_timeout: 0, query_timeout: 0, keepAlive: true }
  const pool = openPool({ ...connectionConfig(address), ...untimed, max: 1 })
  return new Kysely<Database>({ dialect: new PostgresDialect({ pool }) })
}

function openPool(config: PoolConfig): Pool {
  const pool = new Pool(config)
  // A connection that breaks is replaced by the pool. Without a listener it would end the process, whether it is idle,
  // which the pool tells, or working, which only the connection itself tells: beside the failure of its query.
  pool.on('error', () => {})
  pool.on('connect', (client) => client.on('error', () => {}))
  // Where an answer did not come in time it is still waited for on its connection: whoever was given that next would wait in vain, too, until
  // the kernel gives up after a quarter of an hour. So it takes when a database on another machine goes away without a word.
  pool.on('release', (_, client) => {
    if ('readyForQuery' in client && client.readyForQuery === false) void client.end()
  })
  return pool
}

function connectionConfig(address: StoreAddress): ClientConfig {
  const common = {
    application_name: 'trustcast',
    connectionTimeoutMillis: 3_000,
    statement_timeout: 15_000,
    query_timeout: 15_000,
    // Of a node whose machine is gone the server lets go what it held: the others wait for that. Unix sockets need none of it.
    options:
      '-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 -c tcp_user_timeout=25000',
  }
  if ('host' in address) return { ...common, ...address }
  if (!/^postgres(ql)?:\/\//.test(address.url) || !URL.canParse(address.url)) {
    throw new StoreError('STORE_URL_MALFORMED', 'a database address looks like postgres://user@server/name', {
      remedy: 'Correct `database` in the configuration.',
    })
  }
  requireEncryption(new URL(address.url))
  return { ...common, connectionString: address.url }
}

/** INVARIANT I2: no plaintext between two machines. A socket's folder or a loopback address stays on this one. */
function requireEncryption({ hostname, searchParams }: URL): void {
  // As the driver reads it: a parameter beats the name before it, and of several the last counts.
  const last = (name: string): string | undefined => searchParams.getAll(name).at(-1)
  const host = last('host') || decodeURIComponent(hostname) || 'localhost'
  const stays =
    host.startsWith('/') || host === 'localhost' || host === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(host)
  if (stays || last('sslmode') === 'verify-full') return
  throw new StoreError(
    'STORE_PLAINTEXT',
    `the connection to the database on ${host} would not be encrypted and verified`,
    {
      remedy: 'Add sslmode=verify-full (and sslrootcert=FILE for an authority of your own) to its address.',
    },
  )
}

async function listenForever(
  config: ClientConfig,
  onHint: (hint: Hint) => void,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const client = new Client({ ...config, keepAlive: true, statement_timeout: 0, query_timeout: 0 })
    try {
      await listenOnce(client, onHint, signal)
    } catch {
      // The database is away; what was missed is made up for by the `lost` hint of the next connection.
    } finally {
      await client.end().catch(() => {})
    }
    if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, reconnectMs))
  }
}

async function listenOnce(client: Client, onHint: (hint: Hint) => void, signal: AbortSignal): Promise<void> {
  const { promise: ended, resolve: end } = Promise.withResolvers<void>()
  client.once('end', end)
  // It may come more than once.
  client.on('error', () => end())
  client.on('notification', (message) => onHint(JSON.parse(message.payload ?? '{"topic":"lost"}') as Hint))
  const onAbort = (): void => end()
  signal.addEventListener('abort', onAbort)
  try {
    await client.connect()
    await client.query(`listen ${channel}`)
    onHint({ topic: 'lost' })
    if (!signal.aborted) await ended
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
