import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { chmod, mkdir, mkdtemp, realpath, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Client } from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { installEngine } from './engine.ts'
import { type EmbeddedPostgres, type PostgresOptions, startPostgres } from './index.ts'
import { findServers } from './process-table.ts'

const isRoot = process.getuid?.() === 0
/** Programs copied once for all tests but those of the first set-up. */
let shared: string
let folder: string
let stateDir: string
const warnings: string[] = []

beforeAll(async () => {
  shared = await makeFolder()
  await installEngine(shared)
})

afterAll(() => rm(shared, { recursive: true }))

beforeEach(async () => {
  folder = await makeFolder()
  stateDir = join(folder, 's')
  await mkdir(stateDir, { mode: 0o711 })
  await symlink(join(shared, 'engine'), join(stateDir, 'engine'))
  warnings.length = 0
})

afterEach(async () => {
  for (const { pid } of await findServers(join(stateDir, 'postgres'))) process.kill(pid, 'SIGKILL')
  await rm(folder, { recursive: true, force: true })
})

test('a first start sets everything up, a second keeps the data, also on a machine where its account has another number', async () => {
  {
    await using server = await start()
    await using client = await connect(server)
    await client.query(
      'create table note (text text); insert into note values ($$kept$$)'.replaceAll('$$', "'"),
    )
    const { rows } = await client.query(
      `select current_user, version(), current_setting('fsync') fsync, current_setting('data_checksums') sums,
              current_setting('listen_addresses') tcp, pg_encoding_to_char(encoding) encoding, datlocale locale,
              (select rolsuper from pg_roles where rolname = current_user) super
       from pg_database where datname = current_database()`,
    )
    expect(rows[0]).toMatchObject({
      current_user: 'trustcast',
      fsync: 'on',
      sums: 'on',
      tcp: '',
      encoding: 'UTF8',
    })
    expect(rows[0]).toMatchObject({ locale: 'C.UTF-8', super: false })
    expect(rows[0].version).toContain('PostgreSQL 18')
    expect((await stat(server.connection.host)).mode & 0o777).toBe(0o700)
    expect((await stat(`/proc/${server.pid}`)).uid === 0).toBe(false)
  }
  if (isRoot) execFileSync('chown', ['--recursive', '41018:41018', join(stateDir, 'postgres')])
  await using server = await start()
  await using client = await connect(server)
  expect((await client.query('select text from note')).rows).toEqual([{ text: 'kept' }])
  expect(await findServers(join(stateDir, 'postgres'))).not.toEqual([])
})

test('a killed server loses nothing that it acknowledged and starts again at once', async () => {
  const acknowledged: number[] = []
  {
    await using server = await start()
    const client = await connect(server)
    client.on('error', () => undefined)
    await client.query('create table row (n int)')
    const writing = (async () => {
      for (let n = 0; n < 5000; n++) {
        await client.query('insert into row values ($1)', [n])
        acknowledged.push(n)
      }
    })()
    while (acknowledged.length < 50) await new Promise((resolve) => setImmediate(resolve))
    process.kill(server.pid, 'SIGKILL')
    await expect(writing).rejects.toThrow()
    await server.ended
  }
  await using server = await start()
  await using client = await connect(server)
  const { rows } = await client.query<{ n: number }>('select n from row order by n')
  expect(rows.map(({ n }) => n)).toEqual(expect.arrayContaining(acknowledged))
})

test('a child that outlives its killed postmaster is ended before the next server starts', async () => {
  const first = await start()
  const client = await connect(first)
  client.on('error', () => undefined)
  const { pid } = (await client.query('select pg_backend_pid() pid')).rows[0]
  process.kill(pid, 'SIGSTOP')
  process.kill(first.pid, 'SIGKILL')
  await first.ended
  await using second = await start()
  await using again = await connect(second)
  expect((await again.query('select 1 one')).rows).toEqual([{ one: 1 }])
  expect(warnings).toEqual(['ending the database server of an earlier run'])
})

test('a second supervisor is refused while the first lives', async () => {
  await using server = await start()
  await expect(start()).rejects.toMatchObject({ code: 'POSTGRES_IN_USE' })
  await using client = await connect(server)
  expect((await client.query('select 1 one')).rows).toEqual([{ one: 1 }])
})

test('a server whose supervisor is killed shuts down by itself, and the next supervisor takes over', async () => {
  const program = `
    const { startPostgres } = await import(${JSON.stringify(new URL('./index.ts', import.meta.url).href)})
    const log = { info() {}, warn() {} }
    console.log((await startPostgres({ stateDir: ${JSON.stringify(stateDir)}, log })).url)
    setInterval(() => {}, 1000)`
  const supervisor = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = new Promise((resolve) => supervisor.once('exit', resolve))
  const [url] = await new Promise<string[]>((resolve) =>
    createInterface(supervisor.stdout).once('line', (line) => resolve([line])),
  )
  {
    const client = new Client(url)
    client.on('error', () => undefined)
    await client.connect()
    await client.query('create table kept (n int)')
    supervisor.kill('SIGKILL')
    await exited
    await client.end().catch(() => undefined)
  }
  await using server = await start()
  await using client = await connect(server)
  expect((await client.query('select count(*)::int n from kept')).rows).toEqual([{ n: 0 }])
  await expect.poll(() => postmasters()).toEqual([server.pid])
})

test('a lock file that names a living stranger does not hinder a start', async () => {
  await (await start()).stop()
  await writeFile(
    join(stateDir, 'postgres/postmaster.pid'),
    `${process.pid}\n${stateDir}/postgres\n0\n5432\n`,
  )
  await writeFile(join(stateDir, 'postgres.lock'), JSON.stringify({ pid: process.pid, startTicks: '1' }))
  await using server = await start()
  expect(server.pid).toBeGreaterThan(1)
})

test('a left-over of a broken set-up is replaced', async () => {
  stateDir = join(folder, 'new')
  await mkdir(join(stateDir, 'postgres.partial/base'), { recursive: true })
  await mkdir(join(stateDir, 'engine/postgres-18.4.0-beta.17.partial/bin'), { recursive: true })
  await using server = await start()
  expect(server.url).toContain('host=')
})

test('stopping twice is harmless', async () => {
  const server = await start()
  await server.stop()
  await server.stop()
  await server.ended
})

test('an aborted start leaves nothing running', async () => {
  await expect(start({ signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough')
  expect(await findServers(join(stateDir, 'postgres'))).toEqual([])
})

test('a path too long for a socket is refused with a remedy', async () => {
  stateDir = join(folder, 'x'.repeat(100))
  await expect(start()).rejects.toMatchObject({
    code: 'POSTGRES_SOCKET_PATH_TOO_LONG',
    remedy: expect.any(String),
  })
})

test('data of another major version is refused', async () => {
  await (await start()).stop()
  await writeFile(join(stateDir, 'postgres/PG_VERSION'), '17\n')
  await expect(start()).rejects.toMatchObject({ code: 'POSTGRES_OTHER_VERSION' })
})

test.runIf(isRoot)('a state directory below one that only root enters is refused and named', async () => {
  await chmod(folder, 0o700)
  await expect(start()).rejects.toMatchObject({
    code: 'POSTGRES_STATE_UNREACHABLE',
    remedy: expect.stringContaining(`chmod o+x ${folder}`),
  })
})

test.runIf(isRoot)('another user of the machine gets no connection, even past the directory', async () => {
  await using server = await start()
  await chmod(server.connection.host, 0o777)
  await chmod(join(server.connection.host, '.s.PGSQL.5432'), 0o777)
  const stranger = [
    '--reuid=65534',
    '--regid=65534',
    '--clear-groups',
    'psql',
    server.url,
    '-Atc',
    'select 1',
  ]
  const { stdout, stderr } = spawnSync('setpriv', stranger, { encoding: 'utf8', cwd: '/' })
  expect(stdout).toBe('')
  expect(stderr).toContain('authentication failed')
})

async function makeFolder(): Promise<string> {
  const path = await realpath(await mkdtemp(join(tmpdir(), 'tc-pg-')))
  await chmod(path, 0o711)
  return path
}

async function start(extra: Partial<PostgresOptions> = {}): Promise<EmbeddedPostgres> {
  const log = {
    info: () => undefined,
    warn: (_fields: object, message: string) => void warnings.push(message),
  }
  return startPostgres({ stateDir, log, ...extra })
}

async function connect(server: EmbeddedPostgres): Promise<Client & AsyncDisposable> {
  const client = new Client(server.url)
  await client.connect()
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() })
}

/** Postmasters alone: their parent is no PostgreSQL process. */
async function postmasters(): Promise<number[]> {
  const pids = (await findServers(join(stateDir, 'postgres'))).map(({ pid }) => pid)
  return pids.filter((pid) => !pids.includes(parentOf(pid)))
}

function parentOf(pid: number): number {
  return Number(execFileSync('ps', ['-o', 'ppid=', '-p', `${pid}`], { encoding: 'utf8' }))
}
