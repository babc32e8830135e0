import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'kysely'
import { Client } from 'pg'
import { expect, test } from 'vitest'
import { startPostgres } from '#adapters/postgres-embedded/index.ts'
import { isAway, migrate, openStore, type StoreAddress } from '#adapters/store-postgres/index.ts'
import { storeContract } from '#adapters/store-postgres/store.contract.ts'
import type { TestServer } from '#adapters/store-postgres/store-under-test.rig.ts'
import { disposable } from '#apps/site/open-site.ts'

/** The store keeps its promises on the embedded PostgreSQL over a unix socket and on Debian's over TCP. */

storeContract('the embedded PostgreSQL', startEmbedded)
storeContract('the PostgreSQL of Debian', startDebian)

test('a wrong password, an unknown database and a malformed address are no reason to wait, and said to be that', async () => {
  await using server = await startDebian()
  const { url } = server.address as { url: string }
  const refused = [
    [url.replace(secret, 'guess'), 'password'],
    [`${url}-other`, '-other'],
    [`${url}?sslmode=verify-full`, 'SSL'],
  ] as const
  for (const [wrong, why] of refused) {
    const error: unknown = await migrate({ url: wrong }).catch((error: unknown) => error)
    expect(error).toMatchObject({ code: 'STORE_REFUSED', message: expect.stringContaining(why) })
    expect(isAway(error)).toBe(false)
  }
  for (const malformed of ['mysql://host/name', 'postgres', 'postgres://a:b:c/']) {
    expect(() => openStore({ url: malformed })).toThrow(
      expect.objectContaining({ code: 'STORE_URL_MALFORMED' }),
    )
  }
})

test('a connection that is left without an answer is given to nobody else, and a server does not wait long for a node that is gone', async () => {
  await using server = await startDebian()
  const { url } = server.address as { url: string }
  await using store = disposable(openStore({ url: `${url}?query_timeout=500` }))
  const asked = sql<{
    pid: number
    patience: string
  }>`select pg_backend_pid() pid, current_setting('tcp_user_timeout') patience`
  const answer = async () => (await asked.execute(store.db)).rows[0]
  const first = await answer()
  expect(first?.patience).toBe('25000')
  process.kill(first!.pid, 'SIGSTOP')
  try {
    await expect(answer()).rejects.toSatisfy(isAway)
    expect((await answer())?.pid).not.toBe(first!.pid)
  } finally {
    process.kill(first!.pid, 'SIGCONT')
  }
})

test('a node waits for another that brings the database to its version for longer than any statement may take', async () => {
  await using server = await startEmbedded()
  const { host, port, user, database } = server.address as Exclude<StoreAddress, { url: string }>
  const other = new Client({ host, port, user, database })
  await other.connect()
  // Kysely's name for it.
  await other.query('select pg_advisory_lock(3853314791062309107)')
  const migrating = migrate(server.address).catch((error: unknown) => error)
  await sleep(16_000)
  await other.end()
  expect(await migrating).toContain('0001-site')
})

async function startEmbedded(): Promise<TestServer> {
  const folder = await mkdtemp(join(tmpdir(), 'tc-'))
  await chmod(folder, 0o711)
  const options = { stateDir: join(folder, 's'), log: { info() {}, warn() {} } }
  let server = await startPostgres(options)
  let isRunning = true
  return {
    address: server.connection,
    pid: () => server.pid,
    stop: async (how) => {
      isRunning = false
      if (how === 'in order') return server.stop()
      process.kill(server.pid, 'SIGKILL')
      return server.ended
    },
    start: async () => {
      if (isRunning) return
      server = await startPostgres(options)
      isRunning = true
    },
    [Symbol.asyncDispose]: async () => {
      await server.stop()
      await rm(folder, { recursive: true })
    },
  }
}

const programs = '/usr/lib/postgresql/15/bin'
const secret = 'of-this-test'

/** A cluster in a folder of its own, run by an account that is not root, with a password over TCP. */
async function startDebian(): Promise<TestServer> {
  const folder = await mkdtemp(join(tmpdir(), 'tc-'))
  const prefix = await giveAway(folder)
  const passwordFile = join(folder, 'password')
  await writeFile(passwordFile, secret, { mode: 0o644 })
  const dataDir = join(folder, 'data')
  run([
    ...prefix,
    `${programs}/initdb`,
    '-D',
    dataDir,
    '--auth=scram-sha-256',
    `--pwfile=${passwordFile}`,
    '-U',
    'admin',
  ])
  const port = await freePort()
  const args = [
    '-D',
    dataDir,
    '-c',
    `port=${port}`,
    '-c',
    'listen_addresses=127.0.0.1',
    '-c',
    'unix_socket_directories=',
  ]

  const launch = async () => {
    const [program, ...rest] = [...prefix, '--pdeathsig=KILL', `${programs}/postgres`, ...args]
    const child = spawn(program!, rest, { cwd: '/', detached: true, stdio: 'ignore' })
    const ended = once(child, 'exit')
    while (child.exitCode === null && child.signalCode === null) {
      if (await isReady(dataDir, child.pid!)) return { pid: child.pid!, ended }
      await sleep(10)
    }
    return undefined
  }
  /** After a kill the server's children need a moment; until then a new server refuses to start. */
  const start = async () => {
    for (let attempt = 0; attempt < 50; attempt++) {
      const started = await launch()
      if (started !== undefined) return started
      await sleep(100)
    }
    throw new Error('the server does not start')
  }
  let server: { pid: number; ended: Promise<unknown> } | undefined = await start()
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const running = server
    if (running === undefined) return
    server = undefined
    process.kill(running.pid, signal)
    await running.ended
  }
  await createDatabase(port)
  return {
    address: { url: `postgres://trustcast:${secret}@127.0.0.1:${port}/trustcast` },
    pid: () => server!.pid,
    stop: (how) => end(how === 'in order' ? 'SIGINT' : 'SIGKILL'),
    start: async () => {
      server ??= await start()
    },
    [Symbol.asyncDispose]: async () => {
      await end('SIGINT')
      await rm(folder, { recursive: true })
    },
  }
}

/** @returns what to put before a command that works in the folder: PostgreSQL refuses to be root */
async function giveAway(folder: string): Promise<readonly string[]> {
  if (process.getuid?.() !== 0) return ['setpriv', '--no-new-privs']
  const [uid, gid] = ['-u', '-g'].map((option) => Number(run(['id', option, 'postgres'])))
  await chown(folder, uid!, gid!)
  return ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--no-new-privs']
}

function run([program, ...args]: readonly string[]): string {
  return execFileSync(program!, args, { cwd: '/', encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as { port: number }
  probe.close()
  await once(probe, 'close')
  return port
}

/** As pg_ctl waits: line 8 of `postmaster.pid`. */
async function isReady(dataDir: string, pid: number): Promise<boolean> {
  const lines = (await readFile(join(dataDir, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n')
  return lines[0] === `${pid}` && lines[7]?.trim() === 'ready'
}

async function createDatabase(port: number): Promise<void> {
  const admin = new Client(`postgres://admin:${secret}@127.0.0.1:${port}/postgres`)
  await admin.connect()
  await admin.query(`create role trustcast login password '${secret}'`)
  await admin.query('create database trustcast owner trustcast')
  await admin.end()
}
