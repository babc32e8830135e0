import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { makePki, startNginx } from '../interop/blob-servers.rig.ts'

/** What benchmarks of disks share: folders, servers and clients as programs of their own. */

const run = promisify(execFile)
const root = join(import.meta.dirname, '..')

export interface BenchFolder extends AsyncDisposable {
  path(name: string): string
  /** Runs the command line with keys of its own. @returns what it printed, as JSON */
  trustcast<T>(...words: readonly string[]): Promise<T>
  /** Starts a program that serves on a socket, and waits until it does. */
  serve(socket: string, program: string, ...words: readonly string[]): Promise<Serving>
}

export interface Serving extends AsyncDisposable {
  readonly pid: number
}

export async function benchFolder(): Promise<BenchFolder> {
  const folder = await mkdtemp('/var/tmp/tc-bench-')
  const env = {
    ...process.env,
    TRUSTCAST_IMAGES: join(folder, 'keys'),
    TRUSTCAST_RUN: join(folder, 'run'),
    XDG_CACHE_HOME: join(folder, 'cache'),
    XDG_DATA_HOME: join(folder, 'data'),
  }
  return {
    path: (name) => join(folder, name),
    trustcast: async <T>(...words: readonly string[]) => {
      const { stdout } = await run(join(root, 'trustcast'), [...words, '--json'], { env, maxBuffer: 1 << 26 })
      return JSON.parse(stdout) as T
    },
    serve: async (socket, program, ...words) => {
      const name = program === 'trustcast' ? join(root, 'trustcast') : program
      const child = spawn(name, words, { stdio: ['ignore', 'ignore', 'inherit'], env })
      await untilServes(child, socket)
      return { pid: child.pid ?? 0, [Symbol.asyncDispose]: () => end(child) }
    },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  }
}

/** A store in a folder, by HTTPS over loopback, and the words by which the command line finds it. */
export async function serveStore(
  store: string,
): Promise<AsyncDisposable & { readonly words: readonly string[] }> {
  await using parts = new AsyncDisposableStack()
  const pki = parts.use(await makePki())
  const web = parts.use(await startNginx(store, pki))
  const all = parts.move()
  return {
    words: ['--store', `https://localhost:${web.port}/`, '--store-ca', join(pki.folder, 'ca.pem')],
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  }
}

async function untilServes(child: ChildProcess, socket: string): Promise<void> {
  while (!(await connects(socket))) {
    if (child.exitCode !== null) throw new Error(`${child.spawnfile} ended with ${child.exitCode}`)
    await sleep(5)
  }
}

async function connects(socket: string): Promise<boolean> {
  const probe = connect(socket)
  try {
    await once(probe, 'data')
    return true
  } catch {
    return false
  } finally {
    probe.destroy()
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    child.kill('SIGTERM')
    await once(child, 'exit')
  }
}

/** A raw disk whose bytes compress about by half, as those of programs do. */
export async function makeRawDisk(path: string, mebibytes: number): Promise<void> {
  await shell(
    `openssl enc -aes-128-ctr -nosalt -pass pass:bench -in /dev/zero 2>/dev/null | head -c ${mebibytes / 2}M | od -An -v -tx1 -w4096 | tr -d ' \\n' | head -c ${mebibytes}M > ${path}`,
  )
}

export async function shell(command: string): Promise<string> {
  return (await run('/bin/sh', ['-c', command], { maxBuffer: 1 << 26 })).stdout
}

export function uriOf(socket: string): string {
  return `nbd+unix:///?socket=${socket}`
}

/** Reads of 4 KiB at random, answered a second. */
export async function randomReads(
  uri: string,
  depth: number,
  seconds: number,
  size: string,
): Promise<number> {
  const words = [
    '--name=bench',
    '--ioengine=nbd',
    `--uri=${uri}`,
    '--rw=randread',
    '--bs=4k',
    `--iodepth=${depth}`,
    `--size=${size}`,
    '--norandommap',
    '--time_based',
    `--runtime=${seconds}`,
    '--output-format=json',
  ]
  const { stdout } = await run('fio', words, { maxBuffer: 1 << 26 })
  const { jobs } = JSON.parse(stdout.slice(stdout.indexOf('{'))) as { jobs: { read: { iops: number } }[] }
  return jobs[0]?.read.iops ?? Number.NaN
}

/** The same by a client that costs next to nothing. */
export async function lightReads(socket: string, depth: number, seconds: number): Promise<number> {
  const words = [join(import.meta.dirname, 'nbd-load.ts'), socket, String(depth), String(seconds)]
  return Number((await run(process.execPath, words)).stdout)
}

/** Copies a whole disk to nowhere: MB/s. @param words for nbdcopy; unless given, it does not skip holes */
export async function copyRate(uri: string, bytes: number, words = ['--no-extents']): Promise<number> {
  const started = performance.now()
  await run('nbdcopy', [...words, uri, 'null:'])
  return bytes / 1e6 / ((performance.now() - started) / 1000)
}

/** Memory that a process has for itself, and its share of what it shares: MiB. */
export async function memoryOf(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8')
  return Number(/^Pss:\s+(\d+) kB/m.exec(text)?.[1]) / 1024
}

export async function sizeOf(path: string): Promise<number> {
  return (await stat(path)).size
}

/** Passes connections on to a port of this machine, everything later by half of the delay in each direction. */
export async function delayingProxy(
  target: number,
  roundTripMs: number,
): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createServer({ noDelay: true }, (socket) => {
    const onward = connect({ port: target, host: '127.0.0.1', noDelay: true })
    for (const [from, to] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      from.on('data', (bytes) => void setTimeout(() => to.write(bytes), roundTripMs / 2))
      from.on('error', () => to.destroy())
      from.on('close', () => void setTimeout(() => to.destroy(), roundTripMs))
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    port: address.port,
    [Symbol.asyncDispose]: async () => {
      server.close()
    },
  }
}
