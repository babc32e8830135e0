import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import {
  type AddressInfo,
  connect as connectTcp,
  createServer as createTcpServer,
  type Socket,
} from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { buffer, text } from 'node:stream/consumers'
import { connect, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type OffloadedSocket, offloadable } from './index.ts'

const folder = mkdtempSync(join(tmpdir(), 'tc-offload-'))
const [keyFile, certificateFile] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
const ask = 'GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n'
const answer = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n'
let tls: { readonly key: Buffer; readonly cert: Buffer }
let server: Server
let port: number
/** What became of connections that were taken over. */
const ended: string[] = []
let last: { socket: OffloadedSocket; before: TLSSocket } | undefined

beforeAll(async () => {
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-days', '2']
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', keyFile]
  execFileSync('openssl', ['req', '-x509', ...key, '-out', certificateFile, ...subject], { stdio: 'ignore' })
  tls = { key: readFileSync(keyFile), cert: readFileSync(certificateFile) }
  server = createServer({ ...tls, minVersion: 'TLSv1.3' }, (request, response) => {
    void buffer(request).then((body) => response.end(body))
  })
  const takeOver = offloadable(server)
  server.on('upgrade', (_request, before: TLSSocket, head: Buffer) => {
    const socket = takeOver(before)
    last = { socket, before }
    socket.on('error', (error: NodeJS.ErrnoException) => ended.push(error.code ?? error.message))
    socket.on('end', () => ended.push('end'))
    socket.on('close', () => ended.push('close'))
    socket.write(answer)
    if (head.length > 0) socket.unshift(head)
    socket.pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  port = (server.address() as AddressInfo).port
})

afterAll(() => {
  server.closeAllConnections()
  server.close()
  rmSync(folder, { recursive: true })
})

async function dial(to = port): Promise<TLSSocket> {
  const socket = connect({ port: to, host: '127.0.0.1', servername: 'localhost', ca: tls.cert })
  await once(socket, 'secureConnect')
  return socket
}

async function dialEcho(to = port): Promise<TLSSocket> {
  ended.length = 0
  const socket = await dial(to)
  socket.write(ask)
  expect(await take(socket, answer.length)).toEqual(Buffer.from(answer))
  return socket
}

async function take(socket: Duplex, length: number): Promise<Buffer> {
  const parts: Buffer[] = []
  let taken = 0
  while (taken < length) {
    const part = socket.read() as Buffer | null
    if (part === null) await once(socket, 'readable')
    else {
      parts.push(part)
      taken += part.length
    }
  }
  return Buffer.concat(parts)
}

async function isEchoed(): Promise<boolean> {
  const client = await dial()
  client.write(ask)
  await take(client, answer.length)
  const sent = randomBytes(40_000)
  client.end(sent)
  return (await buffer(client)).equals(sent)
}

/** Between client and server; what the client says goes through `change`, piece by piece. */
async function wire(change: (bytes: Buffer) => Buffer[]) {
  const sockets: Socket[] = []
  const relay = createTcpServer({ allowHalfOpen: true }, (near) => {
    const far = connectTcp({ port, host: '127.0.0.1', allowHalfOpen: true })
    sockets.push(near, far)
    far.setNoDelay(true)
    far.pipe(near)
    for (const socket of [near, far]) socket.on('error', () => undefined)
    far.on('close', () => near.destroy())
    near.on('close', () => far.destroy())
    near.on('data', (bytes: Buffer) => {
      for (const part of change(bytes)) far.write(part)
    })
    near.on('end', () => far.end())
  })
  relay.listen(0, '127.0.0.1')
  await once(relay, 'listening')
  return {
    port: (relay.address() as AddressInfo).port,
    sockets,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      relay.close()
      await once(relay, 'close')
    },
  }
}

test('a connection goes on without OpenSSL, in both directions and to its end', async () => {
  const client = await dialEcho()
  const sent = randomBytes(1_000_000)
  client.end(sent)
  expect((await buffer(client)).equals(sent)).toBe(true)
  await expect.poll(() => ended).toEqual(['end', 'close'])
  expect(last?.before.destroyed).toBe(true)
  expect(last?.socket.remoteAddress).toBe(undefined)
})

test('it says from where it comes', async () => {
  const client = await dialEcho()
  expect(last?.socket.remoteAddress).toBe('127.0.0.1')
  client.destroy()
})

test('what was said along with the request is not lost', async () => {
  const client = await dial()
  client.write(`${ask}first`)
  client.write('second')
  expect((await take(client, answer.length + 11)).toString()).toBe(`${answer}firstsecond`)
  client.destroy()
})

test('bytes may come one by one, and requests that are no upgrade are served as before', async () => {
  await using slow = await wire((bytes) => Array.from(bytes, (byte) => Buffer.of(byte)))
  const body = 'x'.repeat(3_000)
  const plain = await dial(slow.port)
  plain.write(
    `POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000\r\nConnection: close\r\n\r\n${body}`,
  )
  expect(await text(plain)).toContain(body)
  const client = await dialEcho(slow.port)
  client.end(body)
  expect(await text(client)).toBe(body)
})

test('many at once are not taken for one another', async () => {
  const echoed = await Promise.all(Array.from({ length: 60 }, isEchoed))
  expect(echoed.filter(Boolean)).toHaveLength(60)
})

test.each(['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'])(
  'openssl with %s agrees, and may have its keys updated, and ours',
  async (suite) => {
    const options = ['-connect', `127.0.0.1:${port}`, '-CAfile', certificateFile, '-ciphersuites', suite]
    const peer = spawn('openssl', ['s_client', ...options], { stdio: 'pipe' })
    let heard = ''
    for (const output of [peer.stdout, peer.stderr])
      output.on('data', (bytes: Buffer) => {
        heard += bytes.toString('latin1')
      })
    const hears = (what: string) => expect.poll(() => heard).toContain(what)
    await hears('Verify return code: 0')
    peer.stdin.write(ask)
    await hears('101 Switching')
    peer.stdin.write('before\n')
    await hears('before')
    // A line that begins with K: new keys for what it sends, and the wish that we do the same; with k: only its own.
    peer.stdin.write('K\n')
    await hears('KEYUPDATE')
    peer.stdin.write('after one\n')
    await hears('after one')
    peer.stdin.write('k\n')
    await expect.poll(() => heard.split('KEYUPDATE').length).toBe(3)
    peer.stdin.write('after two\n')
    await hears('after two')
    peer.stdin.write('Q\n')
    await once(peer, 'exit')
    await expect.poll(() => ended.at(-1)).toBe('close')
  },
)

test('what is no TLS is hung up on at once, and nobody else notices', async () => {
  for (const nonsense of ['GET / HTTP/1.1\r\n\r\n', '\u0016\u0003\u0001\u00ff\u00ff', 'x']) {
    const stranger = connectTcp(port, '127.0.0.1')
    stranger.on('error', () => undefined)
    stranger.write(Buffer.from(nonsense, 'latin1'))
    await once(stranger.resume(), 'close')
  }
  const client = await dialEcho()
  client.end('still there')
  expect(await text(client)).toBe('still there')
})

test('a bit that is turned on the way ends the connection, and the peer hears why', async () => {
  let isEvil = false
  await using evil = await wire((bytes) => {
    if (!isEvil) return [bytes]
    const changed = Buffer.from(bytes)
    changed[20] = (changed[20] ?? 0) ^ 1
    return [changed]
  })
  const client = await dialEcho(evil.port)
  isEvil = true
  client.write('something that is long enough to be changed')
  const [error] = (await once(client, 'error').catch((thrown: unknown) => [thrown])) as [{ code?: string }]
  expect(error.code).toBe('ERR_SSL_SSL/TLS_ALERT_BAD_RECORD_MAC')
  await expect.poll(() => ended).toEqual(['TLS_BAD_RECORD', 'close'])
})

test('what is repeated on the way is not taken twice', async () => {
  let isEvil = false
  await using evil = await wire((bytes) => (isEvil ? [bytes, bytes] : [bytes]))
  const client = await dialEcho(evil.port)
  client.on('error', () => undefined)
  isEvil = true
  client.write('once')
  await expect.poll(() => ended).toEqual(['TLS_BAD_RECORD', 'close'])
})

test('a peer that is gone without a word ends what was taken over, and nothing else', async () => {
  await using way = await wire((bytes) => [bytes])
  const client = await dialEcho(way.port)
  client.on('error', () => undefined)
  for (const socket of way.sockets) socket.resetAndDestroy()
  await expect.poll(() => ended.at(-1)).toBe('close')
  const other = await dialEcho()
  other.end('still there')
  expect(await text(other)).toBe('still there')
})

test('who does not read is not read from', async () => {
  const client = await dialEcho()
  client.pause()
  for (let megabytes = 0; megabytes < 64; megabytes++) client.write(Buffer.alloc(1 << 20))
  await expect.poll(() => last?.socket.writableNeedDrain).toBe(true)
  expect(client.writableLength).toBeGreaterThan(32 << 20)
  expect(last?.socket.readableLength).toBeLessThan(1 << 20)
  client.destroy()
})
