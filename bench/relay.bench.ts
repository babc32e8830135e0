import { type ChildProcess, fork, spawn } from 'node:child_process'
import { createPrivateKey, createPublicKey, generateKeyPairSync, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect as connectPlain, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, createServer as createTlsServer, type TLSSocket } from 'node:tls'
import {
  clientTls,
  createAuthority,
  createIdentityKey,
  issueLeaf,
  serverTls,
  type TlsIdentity,
} from '#adapters/pki-x509/index.ts'
import { createGateway } from '#apps/gateway/gateway.ts'
import { defaultLimits } from '#apps/gateway/limits.ts'
import { relayPath, relayProtocol } from '#core/agent/messages.ts'
import { signRoute } from '#core/agent/route.ts'
import { median, method, report } from './report.ts'

/**
 * What the gateway costs, against websockify with TLS on both legs: processor time per GiB from host to person, and memory
 * per idle session. The person reads as fast as it can and throws away; the host writes WebSocket frames from 64 KiB to 4 MiB.
 */

const gibibyte = 2 ** 30
const mebibyte = 2 ** 20
const bytesPerRun = gibibyte
const runs = 3
const idleSessions = 100
const frameSizes = [64 * 1024, 256 * 1024, mebibyte, 4 * mebibyte]
const ticksPerSecond = 100
const peer = 'websockify'

/** What the processes of one benchmark share. */
interface Stage {
  readonly siteId: string
  readonly rootPem: string
  readonly gateway: TlsIdentity
  readonly host: TlsIdentity
  readonly hostId: string
  readonly routeKeyPem: string
}

interface Cost {
  /** Seconds of processor time per GiB. */
  readonly cpu: number
  /** MiB per second. */
  readonly rate: number
}

/** A relay as its person sees it. */
interface Relay {
  readonly pid: number
  readonly port: number
  readonly idlePid: number
  readonly idlePort: number
}

async function main(): Promise<void> {
  method(
    `TLS 1.3 on both legs of both; ${runs} runs of 1 GiB each in turn, median; processor time of the relay alone; ` +
      `memory (PSS) of ${idleSessions} joined sessions that say nothing.`,
  )
  await using children = new Children()
  const folder = await mkdtemp(join(tmpdir(), 'tc-bench-'))
  try {
    const stage = await setStage()
    const path = join(folder, 'stage.json')
    await writeFile(path, JSON.stringify(stage))
    const ours = await startGateway(children, path)
    const theirs = await startWebsockify(children, path, join(folder, 'websockify.pem'), stage)
    // The gateway lives long: its first megabytes, which the compiler has not seen yet, are not counted.
    await measure(ours, stage, 64 * mebibyte)
    const costs: { readonly ours: Cost; readonly theirs: Cost }[] = []
    for (let run = 0; run < runs; run++)
      costs.push({
        ours: await measure(ours, stage, bytesPerRun),
        theirs: await measure(theirs, stage, bytesPerRun),
      })
    const middle = (relay: 'ours' | 'theirs', key: keyof Cost): number =>
      median(costs.map((cost) => cost[relay][key]))
    report('relay.cpu', middle('ours', 'cpu'), 's/GiB', {
      peer: [peer, middle('theirs', 'cpu')],
      goal: { of: 'ratio', atMost: 1 },
    })
    report('relay.rate', middle('ours', 'rate'), 'MiB/s', { peer: [peer, middle('theirs', 'rate')] })
    report('relay.memory-per-idle-session', await idle(ours, stage), 'MiB', {
      peer: [peer, await idle(theirs, stage)],
      goal: { of: 'value', atMost: 1 },
    })
  } finally {
    await rm(folder, { recursive: true })
  }
}

async function startGateway(children: Children, path: string): Promise<Relay> {
  const start = async (): Promise<{ pid: number; port: number }> => {
    const { pid, ports } = await children.fork('gateway', path)
    const [port = 0, agents = 0] = ports
    await children.fork('host', path, String(agents))
    return { pid, port }
  }
  // Memory is measured where no gigabytes have passed: what they left behind would be used again.
  const [busy, quiet] = [await start(), await start()]
  return { ...busy, idlePid: quiet.pid, idlePort: quiet.port }
}

async function startWebsockify(children: Children, path: string, pem: string, stage: Stage): Promise<Relay> {
  await writeFile(pem, stage.gateway.privateKeyPem + stage.gateway.chainPem, { mode: 0o600 })
  const { ports } = await children.fork('plain-host', path)
  const [busy, quiet] = [await freePort(), await freePort()]
  const start = (listen: number, target: number | undefined): number =>
    children.spawn('websockify', [
      '--cert',
      pem,
      '--ssl-only',
      '--ssl-target',
      `127.0.0.1:${listen}`,
      `127.0.0.1:${target}`,
    ])
  const [pid, idlePid] = [start(busy, ports[0]), start(quiet, ports[1])]
  await Promise.all([listens(busy), listens(quiet)])
  return { pid, port: busy, idlePid, idlePort: quiet }
}

/** One person reads so many bytes. */
async function measure({ pid, port }: Relay, stage: Stage, bytes: number): Promise<Cost> {
  const before = await processorSeconds(pid)
  const start = performance.now()
  const socket = await openPerson(stage, port, false)
  let received = 0
  await new Promise<void>((resolve, reject) => {
    socket.on('close', () => reject(new Error(`closed after ${received} bytes`)))
    socket.on('data', (part: Buffer) => {
      received += part.length
      if (received >= bytes) resolve()
    })
  })
  const seconds = (performance.now() - start) / 1000
  const cpu = (await processorSeconds(pid)) - before
  socket.removeAllListeners('close').destroy()
  await sleep(500)
  return { cpu: (cpu * gibibyte) / received, rate: received / mebibyte / seconds }
}

/** MiB per session that was joined and says nothing. */
async function idle({ idlePid, idlePort }: Relay, stage: Stage): Promise<number> {
  const before = await memoryMiB(idlePid)
  const sockets: TLSSocket[] = []
  for (let session = 0; session < idleSessions; session++)
    sockets.push(await openPerson(stage, idlePort, true))
  await sleep(2000)
  const after = await memoryMiB(idlePid)
  for (const socket of sockets) socket.destroy()
  return (after - before) / idleSessions
}

/** Resolves when the WebSocket handshake is answered. */
async function openPerson(stage: Stage, port: number, isIdle: boolean): Promise<TLSSocket> {
  const { hostId, routeKeyPem, rootPem } = stage
  const exp = Math.floor(Date.now() / 1000) + 30
  const route = signRoute({ host: hostId, session: randomUUID(), exp }, createPrivateKey(routeKeyPem))
  const socket = connect({ port, host: '127.0.0.1', ca: rootPem, minVersion: 'TLSv1.3' }).setNoDelay()
  socket.on('error', () => undefined)
  const lines = [
    'GET /channel HTTP/1.1',
    `Host: 127.0.0.1:${port}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    `Sec-WebSocket-Protocol: binary, trustcast.1, route.${route}`,
    ...(isIdle ? ['X-Idle: yes'] : []),
  ]
  socket.write(`${lines.join('\r\n')}\r\n\r\n`)
  const [answer] = (await once(socket, 'data')) as [Buffer]
  if (!answer.toString('latin1').startsWith('HTTP/1.1 101')) throw new Error(answer.toString('latin1'))
  return socket
}

async function setStage(): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), 'tc-bench-'))
  const authority = await createAuthority({
    dir: join(folder, 'authority'),
    siteName: 'Bench',
    now: Date.now(),
  })
  await rm(folder, { recursive: true })
  const identity = async (role: 'gateway' | 'host', id: string): Promise<TlsIdentity> => {
    const { publicKey, privateKeyPem } = await createIdentityKey()
    const { chainPem } = await issueLeaf(authority, {
      publicKey,
      role,
      id,
      usages: 'both',
      ipAddresses: ['127.0.0.1'],
      lifetimeMs: 3_600_000,
      now: Date.now(),
    })
    return { chainPem, privateKeyPem }
  }
  const hostId = randomUUID()
  const { privateKey } = generateKeyPairSync('ed25519')
  return {
    siteId: authority.siteId,
    rootPem: authority.rootPem,
    gateway: await identity('gateway', 'g1'),
    host: await identity('host', hostId),
    hostId,
    routeKeyPem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  }
}

async function readStage(path: string): Promise<Stage> {
  return JSON.parse(await readFile(path, 'utf8')) as Stage
}

async function runGateway({ siteId, rootPem, gateway, routeKeyPem }: Stage): Promise<void> {
  const routeKey = createPublicKey(routeKeyPem)
  const { ports } = await createGateway({
    siteId,
    peopleTls: serverTls(gateway),
    agentTls: serverTls(gateway, rootPem),
    listen: { people: { address: '127.0.0.1', port: 0 }, agents: { address: '127.0.0.1', port: 0 } },
    routeKeys: () => [routeKey],
    isRevoked: () => false,
    allowedOrigins: [],
    log: { info: () => undefined, warn: () => undefined },
    clock: Date.now,
    limits: defaultLimits,
  })
  process.send?.([ports.people, ports.agents])
}

/** Keeps one spare at the gateway; answers each person and writes frames for as long as it reads. */
async function runHost(stage: Stage, port: number): Promise<void> {
  const { rootPem, siteId, host } = stage
  const socket = connect({
    port,
    host: '127.0.0.1',
    ...clientTls(rootPem, { siteId, role: 'gateway' }, host),
  })
  socket.on('error', () => undefined)
  socket.write(
    `GET ${relayPath} HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: ${relayProtocol}\r\n\r\n`,
  )
  await once(socket, 'data')
  process.send?.([])
  const [head] = (await once(socket, 'data')) as [Buffer]
  void runHost(stage, port)
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
  if (!head.includes('X-Idle')) pump(socket, frameSizes.map(frame))
}

/** Behind websockify, which makes the frames: one port pumps, the other says one word. */
async function runPlainHost({ host }: Stage): Promise<void> {
  const listen = async (serve: (socket: TLSSocket) => void): Promise<number> => {
    const server = createTlsServer({ ...serverTls(host), noDelay: true }, (socket) => {
      socket.on('error', () => undefined)
      serve(socket)
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return (server.address() as AddressInfo).port
  }
  const busy = await listen((socket) =>
    pump(
      socket,
      frameSizes.map((size) => Buffer.alloc(size, 7)),
    ),
  )
  // websockify 0.10 blocks for ever in its first read when all that comes are session tickets of TLS 1.3.
  const quiet = await listen((socket) => socket.write('RFB 003.008\n'))
  process.send?.([busy, quiet])
}

function pump(socket: TLSSocket, pieces: readonly Buffer[]): void {
  let next = 0
  const go = (): void => {
    while (!socket.destroyed && socket.write(pieces[next++ % pieces.length] ?? ''));
  }
  socket.on('drain', go).resume()
  go()
}

/** RFC 6455, section 5.2: a binary frame of a server, with the 64-bit length. */
function frame(size: number): Buffer {
  const bytes = Buffer.alloc(10 + size, 7)
  bytes[0] = 0x82
  bytes[1] = 127
  bytes.writeBigUInt64BE(BigInt(size), 2)
  return bytes
}

/** Of a process and all below it. */
async function processorSeconds(pid: number): Promise<number> {
  let ticks = 0
  for (const each of await family(pid)) {
    const fields = (await statOf(each)).slice(11, 15)
    ticks += fields.reduce((sum, field) => sum + Number(field), 0)
  }
  return ticks / ticksPerSecond
}

/** Proportional set size of a process and all below it. */
async function memoryMiB(pid: number): Promise<number> {
  let kibibytes = 0
  for (const each of await family(pid)) {
    const rollup = await readFile(`/proc/${each}/smaps_rollup`, 'utf8')
    kibibytes += Number(/^Pss:\s+(\d+) kB$/m.exec(rollup)?.[1] ?? 0)
  }
  return kibibytes / 1024
}

async function family(pid: number): Promise<readonly number[]> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  const pids = children.trim().split(' ').filter(Boolean).map(Number)
  return [pid, ...(await Promise.all(pids.map(family))).flat()]
}

/** The fields of proc_pid_stat(5) behind the name, which may hold blanks. */
async function statOf(pid: number): Promise<readonly string[]> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

async function listens(port: number): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    const socket = connectPlain(port, '127.0.0.1')
    const isOpen = await new Promise((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    })
    socket.destroy()
    if (isOpen) return
    await sleep(100)
  }
  throw new Error(`nothing listens on port ${port}`)
}

/** The processes of this run; they end with it. */
class Children {
  readonly #children: ChildProcess[] = []

  /** This file again, in another role; resolves with the ports it listens on. */
  async fork(role: string, ...rest: readonly string[]): Promise<{ pid: number; ports: readonly number[] }> {
    const child = fork(import.meta.filename, [role, ...rest])
    this.#children.push(child)
    const [ports] = (await once(child, 'message')) as [readonly number[]]
    return { pid: child.pid ?? 0, ports }
  }

  spawn(command: string, args: readonly string[]): number {
    const child = spawn(command, args, { stdio: 'ignore' })
    this.#children.push(child)
    return child.pid ?? 0
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) {
      const exited = once(child, 'exit')
      child.kill('SIGTERM')
      await exited
    }
  }
}

// Last, so that all of the above exists.
const [, , role = 'person', stagePath = '', port] = process.argv
if (role === 'gateway') await runGateway(await readStage(stagePath))
else if (role === 'host') await runHost(await readStage(stagePath), Number(port))
else if (role === 'plain-host') await runPlainHost(await readStage(stagePath))
else await main()
