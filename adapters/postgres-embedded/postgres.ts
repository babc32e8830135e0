import { spawn } from 'node:child_process'
import { chmod, mkdir, open, readFile, realpath, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ensureCluster, ownDirectory, serverEnvironment, siteRole } from './cluster.ts'
import { type Engine, installEngine } from './engine.ts'
import { PostgresError } from './postgres-error.ts'
import { findRun, findServers, isRunning, type ProcessRun } from './process-table.ts'
import { checkReachable, type ServerAccount, serverAccount } from './server-account.ts'
import { endRun, goneWithin, shutDown } from './shutdown.ts'
import { lockSupervision } from './supervisor-lock.ts'

/** Where a site's log lines go; pino fits. */
export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}

export interface PostgresOptions {
  /** Absolute; made when missing. The server's account must be able to walk down to it. */
  readonly stateDir: string
  readonly log: Log
  /** Ends the start, not a server that has started. */
  readonly signal?: AbortSignal
}

/** A running server. It ends with this process: in order on `stop`, and also when this process is killed. */
export interface EmbeddedPostgres extends AsyncDisposable {
  /** For `pg` and whatever takes the same words; `host` is the directory of the socket. */
  readonly connection: {
    readonly host: string
    readonly port: number
    readonly user: string
    readonly database: string
  }
  /** The same as a connection string. */
  readonly url: string
  readonly pid: number
  /** Settles once the server has ended, whoever ended it; the state directory can then be started again. */
  readonly ended: Promise<void>
  /** Rolls back what is open, flushes and ends the server. May be called again. */
  stop(): Promise<void>
}

/**
 * Starts the PostgreSQL that comes with the npm packages, on a unix socket only, and waits until it takes connections.
 * The first start in a state directory also sets up the programs, the account and the database. Call it on the main
 * thread: the kernel ties the server's life to the thread that started it.
 *
 * Layout: `engine/postgres-<version>`, `postgres` (data), `postgres-run` (socket), `postgres.log`, `postgres.lock`.
 *
 * @throws {PostgresError} every code of this module
 */
export async function startPostgres(options: PostgresOptions): Promise<EmbeddedPostgres> {
  // The mode is set apart from the making, which a strict umask would bend.
  if (await mkdir(options.stateDir, { recursive: true })) await chmod(options.stateDir, 0o711)
  const stateDir = await realpath(options.stateDir)
  const place = placeIn(stateDir)
  checkSocketPath(place)
  const account = await serverAccount()
  await checkReachable(account, stateDir)
  const release = await lockSupervision(join(stateDir, 'postgres.lock'))
  try {
    const engine = await installEngine(stateDir)
    await endLeftovers(place.dataDir, options.log)
    await ensureCluster(engine, account, place.dataDir)
    await ownDirectory(place.runDir, account)
    await removeStaleLocks(place)
    options.signal?.throwIfAborted()
    const server = await launch(engine, account, place)
    await untilReady(server, place, options.signal).catch(async (error: unknown) => {
      await shutDown(server.run)
      throw error
    })
    options.log.info(
      { pid: server.run.pid, version: engine.version, host: place.runDir },
      'database is ready',
    )
    return describe({ run: server.run, ended: server.ended.then(release) }, place)
  } catch (error) {
    await release()
    throw error
  }
}

interface Place {
  readonly dataDir: string
  readonly runDir: string
  /** Outside of both: only this process may choose what it opens for the server to write to. */
  readonly logFile: string
}

interface Server {
  readonly run: ProcessRun
  readonly ended: Promise<void>
}

const port = 5432
const socketName = `.s.PGSQL.${port}`
/** Below the 108 bytes of Linux' `sun_path`, as portable software counts. */
const socketPathLimit = 104
const readyDeadlineMs = 600_000
const orphanPatienceMs = 5_000

function placeIn(stateDir: string): Place {
  return {
    dataDir: join(stateDir, 'postgres'),
    runDir: join(stateDir, 'postgres-run'),
    logFile: join(stateDir, 'postgres.log'),
  }
}

function checkSocketPath({ runDir }: Place): void {
  const bytes = Buffer.byteLength(join(runDir, socketName))
  if (bytes < socketPathLimit) return
  const message = `the socket's path ${runDir}/${socketName} has ${bytes} bytes, fewer than ${socketPathLimit} are possible`
  throw new PostgresError('POSTGRES_SOCKET_PATH_TOO_LONG', message, {
    remedy: 'Choose a state directory with a shorter path, such as /var/lib/trustcast.',
  })
}

/** INVARIANT: never two servers on one data directory. Whatever a dead supervisor left is ended in order first. */
async function endLeftovers(dataDir: string, log: Log): Promise<void> {
  const runs = await findServers(dataDir)
  if (runs.length === 0) return
  const postmaster = Number((await readPidFile(dataDir))[0])
  log.warn({ pids: runs.map(({ pid }) => pid) }, 'ending the database server of an earlier run')
  const first = runs.find(({ pid }) => pid === postmaster)
  if (first !== undefined) await shutDown(first)
  // Children whose postmaster was killed leave by themselves; one that hangs would block the new server for ever.
  for (const run of runs)
    if (!(await goneWithin(run, orphanPatienceMs))) await endRun(run, 'SIGKILL', orphanPatienceMs)
}

/**
 * The server itself refuses when a lock's number belongs to a living process, even to a zombie or to a stranger that was
 * given the number after a reboot. Nobody is left in the data directory here, and should this ever be wrong, the server
 * still finds the shared memory of its predecessor in use.
 */
async function removeStaleLocks({ dataDir, runDir }: Place): Promise<void> {
  await rm(join(dataDir, 'postmaster.pid'), { force: true })
  await rm(join(runDir, `${socketName}.lock`), { force: true })
}

async function launch(engine: Engine, account: ServerAccount, place: Place): Promise<Server> {
  const settings = {
    listen_addresses: '',
    unix_socket_directories: place.runDir,
    unix_socket_permissions: '0700',
    port: `${port}`,
    fsync: 'on',
    full_page_writes: 'on',
    synchronous_commit: 'on',
    // The log must hold no statements and no values: they carry what people entered.
    log_error_verbosity: 'terse',
    log_min_error_statement: 'panic',
    log_min_messages: 'log',
    log_checkpoints: 'off',
    jit: 'off',
  }
  const arguments_ = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  await rename(place.logFile, `${place.logFile}.1`).catch(() => undefined)
  await using output = await open(place.logFile, 'a', 0o600)
  // Killed with its supervisor the server gets SIGINT, its "fast shutdown". A group of its own keeps Ctrl-C away from it:
  // the supervisor stops it last.
  const [program, ...args] = [...account.prefix, '--pdeathsig=INT', `${engine.dir}/bin/postgres`]
  const child = spawn(program, [...args, '-D', place.dataDir, ...arguments_], {
    cwd: '/',
    env: serverEnvironment,
    detached: true,
    stdio: ['ignore', output.fd, output.fd],
  })
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  await new Promise((resolve, reject) => child.once('spawn', resolve).once('error', reject))
  const run = await findRun(child.pid ?? 0)
  if (run === undefined) throw await startFailed(place)
  return { run, ended }
}

/** Waits as pg_ctl does: line 8 of `postmaster.pid` says `ready`. */
async function untilReady({ run }: Server, place: Place, signal: AbortSignal | undefined): Promise<void> {
  const deadline = performance.now() + readyDeadlineMs
  while (performance.now() < deadline && (await isRunning(run))) {
    const lines = await readPidFile(place.dataDir)
    if (lines[0] === `${run.pid}` && lines[7]?.trim() === 'ready') return
    await sleep(10, undefined, { ...(signal && { signal }) })
  }
  throw await startFailed(place)
}

async function startFailed({ logFile }: Place): Promise<PostgresError> {
  const log = await readFile(logFile, 'utf8').catch(() => '')
  return new PostgresError(
    'POSTGRES_START_FAILED',
    `the server did not get ready: ${log.slice(-1000).trim()}`,
  )
}

function describe({ run, ended }: Server, { runDir }: Place): EmbeddedPostgres {
  const stop = async (): Promise<void> => {
    await shutDown(run)
    await ended
  }
  const query = new URLSearchParams({ host: runDir, port: `${port}`, user: siteRole })
  return {
    connection: { host: runDir, port, user: siteRole, database: siteRole },
    url: `postgres:///${siteRole}?${query.toString()}`,
    pid: run.pid,
    ended,
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

async function readPidFile(dataDir: string): Promise<readonly string[]> {
  return (await readFile(join(dataDir, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n')
}
