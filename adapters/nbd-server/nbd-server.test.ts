import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { BlockDevice } from '#core/block/block-device.ts'
import { memoryDevice, readyDevice } from '#core/block/memory-device.fixture.ts'
import { concatBytes, encodeHex } from '#core/bytes/index.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { contextRequest, infoRequest, option, request, wire } from '#core/nbd/nbd.fixture.ts'
import { activatedDescriptors } from './inherited.ts'
import { NbdServer } from './nbd-server.ts'

const cmd = { read: 0, write: 1, disc: 2, flush: 3, trim: 4, cache: 5, writeZeroes: 6, blockStatus: 7 }
const flag = { fua: 1, noHole: 2, fastZero: 16 }
const eio = 5
const enotsup = 95
const eshutdown = 108
const greetingBytes = 18
const goReplyBytes = 32 + 20

let folder: string
let path: string
let servers: NbdServer[]
let clients: Client[]
let dropped: unknown[]

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'nbd-'))
  path = join(folder, 'nbd.sock')
  servers = []
  clients = []
  dropped = []
})

afterEach(async () => {
  for (const { socket } of clients) socket.destroy()
  await Promise.all(servers.map((server) => server.close()))
  await rm(folder, { recursive: true })
})

/** A client that counts the bytes it was sent. */
class Client {
  readonly socket: Socket
  #heard = Buffer.alloc(0)
  #wake: () => void = () => undefined

  constructor(socket: Socket) {
    this.socket = socket
    clients.push(this)
    for (const event of ['error', 'readable', 'end', 'close']) socket.on(event, () => this.#wake())
  }

  /** The next bytes; fewer when the connection ends before. */
  async hear(length: number): Promise<Buffer> {
    while (this.#heard.length < length) {
      const more = this.socket.read() as Buffer | null
      if (more) this.#heard = Buffer.concat([this.#heard, more])
      else if (this.socket.readableEnded || this.socket.destroyed) break
      else await new Promise<void>((resolve) => (this.#wake = resolve))
    }
    const part = this.#heard.subarray(0, length)
    this.#heard = this.#heard.subarray(part.length)
    return part
  }

  say(...messages: readonly Uint8Array[]): void {
    this.socket.write(concatBytes(...messages))
  }
}

async function serve(device: BlockDevice, options: { maximumConnections?: number } = {}): Promise<NbdServer> {
  const server = new NbdServer({
    exports: [{ name: 'disk', device }],
    onDropped: (error) => dropped.push(error),
    ...options,
  })
  servers.push(server)
  await server.listenUnix(path)
  return server
}

async function dial(): Promise<Client> {
  const socket = connect(path)
  const client = new Client(socket)
  await once(socket, 'connect')
  return client
}

/** A client in transmission, with simple replies. */
async function enter(): Promise<Client> {
  const client = await dial()
  client.say(Uint8Array.of(0, 0, 0, 3), option(7, infoRequest('disk')))
  await client.hear(greetingBytes + goReplyBytes)
  return client
}

/** The cookie and the error of a simple reply without data. */
async function hearReply(client: Client): Promise<[cookie: bigint, error: number]> {
  const reply = await client.hear(16)
  expect(reply.readUInt32BE(0)).toBe(0x67446698)
  return [reply.readBigUInt64BE(8), reply.readUInt32BE(4)]
}

function codes(errors: readonly unknown[]): readonly unknown[] {
  return errors.map((error) => (isCoded(error) ? error.code : error))
}

test('only the owner can use the unix socket, and it is gone after the server', async () => {
  const server = await serve(memoryDevice(new Uint8Array(4096)))
  const { mode } = await stat(path)
  expect(mode & 0o777).toBe(0o600)
  await server.close()
  await expect(stat(path)).rejects.toThrow('ENOENT')
})

test('a socket that is in use, and a file, are left alone; one that nobody answers on is replaced', async () => {
  await serve(memoryDevice(new Uint8Array(4096)))
  await expect(serve(memoryDevice(new Uint8Array(4096)))).rejects.toMatchObject({ code: 'NBD_SOCKET_IN_USE' })
  const original = path
  path = join(folder, 'file')
  await writeFile(path, 'precious')
  await expect(serve(memoryDevice(new Uint8Array(4096)))).rejects.toThrow('EADDRINUSE')
  expect((await stat(path)).size).toBe(8)
  path = original
})

test('a read, a write and a read again over simple replies', async () => {
  await serve(memoryDevice(new Uint8Array(65_536)))
  const client = await enter()
  client.say(request(cmd.read, { cookie: 7n, length: 2 }))
  expect(encodeHex(await client.hear(18))).toBe(wire('67446698 00000000 0000000000000007 0000'))
  client.say(request(cmd.write, { cookie: 8n, payload: Uint8Array.of(1, 2), flags: flag.fua }))
  expect(await hearReply(client)).toEqual([8n, 0])
  client.say(request(cmd.read, { cookie: 9n, length: 2 }))
  expect(encodeHex(await client.hear(18))).toBe(wire('67446698 00000000 0000000000000009 0102'))
})

test('requests that are ready first are answered first', async () => {
  const slow = Promise.withResolvers<void>()
  const device = memoryDevice(new Uint8Array(65_536))
  await serve({
    ...device,
    write: async (offset, bytes) => {
      if (offset === 0n) await slow.promise
      await device.write!(offset, bytes)
    },
  })
  const client = await enter()
  const payload = Uint8Array.of(1)
  client.say(
    request(cmd.write, { cookie: 1n, payload }),
    request(cmd.write, { cookie: 2n, offset: 1n, payload }),
  )
  expect(await hearReply(client)).toEqual([2n, 0])
  slow.resolve()
  expect(await hearReply(client)).toEqual([1n, 0])
})

test('a failing device gives an error, and the connection goes on', async () => {
  const device = memoryDevice(new Uint8Array(65_536))
  await serve({
    ...device,
    read: async (offset, length) => {
      if (offset === 0n) throw new Error('broken')
      return device.read(offset, length)
    },
  })
  const client = await enter()
  client.say(request(cmd.read, { cookie: 1n, length: 4096 }))
  expect(await hearReply(client)).toEqual([1n, eio])
  client.say(request(cmd.read, { cookie: 2n, offset: 1n, length: 1 }))
  expect((await client.hear(17)).length).toBe(17)
  expect(dropped).toEqual([])
})

test('zeros that leave no hole are written as data, and are not called fast', async () => {
  const written: number[] = []
  const device = memoryDevice(new Uint8Array(3_000_000))
  await serve({
    ...device,
    write: async (_offset, bytes) => void written.push(bytes.length),
  })
  const client = await enter()
  const range = { offset: 4096n, length: 2_000_000 }
  client.say(request(cmd.writeZeroes, { ...range, cookie: 1n, flags: flag.noHole | flag.fastZero }))
  expect(await hearReply(client)).toEqual([1n, enotsup])
  client.say(request(cmd.writeZeroes, { ...range, cookie: 2n, flags: flag.noHole }))
  expect(await hearReply(client)).toEqual([2n, 0])
  expect(written).toEqual([1_048_576 - 4096, 2_000_000 - 1_048_576 + 4096])
})

test('what must be durable is answered when the device has it durable, not before', async () => {
  const device = memoryDevice(new Uint8Array(65_536))
  const done: string[] = []
  let flushed = Promise.withResolvers<void>()
  const then = async (name: string, change: Promise<void>): Promise<void> => {
    await change
    // Who did not wait for it would be seen.
    await sleep(5)
    done.push(name)
  }
  await serve({
    ...device,
    write: (offset, bytes) => then('write', device.write!(offset, bytes)),
    trim: (offset, length) => then('trim', device.trim!(offset, length)),
    writeZeroes: (offset, length) => then('zeroes', device.writeZeroes!(offset, length)),
    flush: () => then('flush', flushed.promise),
  })
  const client = await enter()
  const changes: readonly [string, Uint8Array, Uint8Array][] = (
    [
      ['write', cmd.write, { payload: Uint8Array.of(1, 2) }],
      ['trim', cmd.trim, { length: 4096 }],
      ['zeroes', cmd.writeZeroes, { length: 4096 }],
    ] as const
  ).map(([name, type, fields]) => [
    name,
    request(type, { ...fields, cookie: 1n }),
    request(type, { ...fields, cookie: 2n, flags: flag.fua }),
  ])
  for (const [name, plain, durable] of changes) {
    client.say(plain)
    expect(await hearReply(client)).toEqual([1n, 0])
    expect(done.splice(0)).toEqual([name])
    client.say(durable)
    await vi.waitFor(() => expect(done).toEqual([name]))
    // What is asked after it is answered first, as long as the flush takes.
    client.say(request(cmd.read, { cookie: 3n, length: 1 }))
    expect((await client.hear(17)).readBigUInt64BE(8)).toBe(3n)
    flushed.resolve()
    expect(await hearReply(client)).toEqual([2n, 0])
    expect(done.splice(0)).toEqual([name, 'flush'])
    flushed = Promise.withResolvers()
  }
  client.say(request(cmd.flush, { cookie: 4n }), request(cmd.read, { cookie: 5n, length: 1 }))
  expect((await client.hear(17)).readBigUInt64BE(8)).toBe(5n)
  flushed.reject(new Error('no room'))
  expect(await hearReply(client)).toEqual([4n, eio])
})

test('what is to be cached is read, in pieces, before it is answered, and its memory given back', async () => {
  const device = memoryDevice(new Uint8Array(4_194_304))
  const read: [number, number][] = []
  const given: Uint8Array[] = []
  await serve({
    ...device,
    read: async (offset, length) => {
      const bytes = await device.read(offset, length)
      read.push([Number(offset), length])
      given.push(bytes)
      return bytes
    },
    done: (bytes) => void given.splice(given.indexOf(bytes), 1),
  })
  const client = await enter()
  client.say(request(cmd.cache, { cookie: 1n, offset: 4096n, length: 2_000_000 }))
  expect(await hearReply(client)).toEqual([1n, 0])
  expect(read).toEqual([
    [4096, 1_048_576 - 4096],
    [1_048_576, 2_000_000 - 1_048_576 + 4096],
  ])
  expect(given).toEqual([])
})

test('everything asked before a disconnect is answered before the connection ends', async () => {
  const slow = Promise.withResolvers<void>()
  const device = memoryDevice(new Uint8Array(65_536))
  await serve({ ...device, write: () => slow.promise })
  const client = await enter()
  client.say(request(cmd.write, { cookie: 1n, payload: Uint8Array.of(1) }), request(cmd.disc))
  slow.resolve()
  expect(await hearReply(client)).toEqual([1n, 0])
  expect((await client.hear(1)).length).toBe(0)
  expect(dropped).toEqual([])
})

test('a client that only sends its end is answered, too', async () => {
  await serve(memoryDevice(new Uint8Array(65_536)))
  const client = await enter()
  client.socket.end(request(cmd.write, { cookie: 1n, payload: Uint8Array.of(1) }))
  expect(await hearReply(client)).toEqual([1n, 0])
  expect((await client.hear(1)).length).toBe(0)
})

test('the device is told of each read whose data was sent, and not before', async () => {
  const device = memoryDevice(new Uint8Array(1_048_576).fill(7))
  const [given, done] = [new Set<Uint8Array>(), new Set<Uint8Array>()]
  await serve({
    ...device,
    read: async (offset, length) => {
      const bytes = await device.read(offset, length)
      given.add(bytes)
      return bytes
    },
    done: (bytes) => {
      expect(given.has(bytes) && !done.has(bytes)).toBe(true)
      done.add(bytes)
      // As a device that uses the memory again would.
      bytes.fill(0)
    },
  })
  const client = await enter()
  const bursts = [
    [2, 4096],
    [2, 65_536],
    [2, 1_048_576],
    [100, 4096],
  ] as const
  for (const [count, length] of bursts) {
    client.say(...Array.from({ length: count }, (_, at) => request(cmd.read, { cookie: BigInt(at), length })))
    for (let reply = 0; reply < count; reply++) {
      await client.hear(16)
      expect((await client.hear(length)).every((byte) => byte === 7)).toBe(true)
    }
  }
  await vi.waitFor(() => expect(done.size).toBe(106))
})

test('a client that does not read makes the server hold little and stop reading it', async () => {
  let asked = 0
  const mebibyte = 1_048_576
  const device = memoryDevice(new Uint8Array(mebibyte))
  await serve({
    ...device,
    read: async (offset, length) => {
      asked += length
      return device.read(offset, length)
    },
  })
  const client = await enter()
  const reads = Array.from({ length: 100 }, (_, index) =>
    request(cmd.read, { cookie: BigInt(index), length: mebibyte }),
  )
  client.say(...reads)
  // Another client is served meanwhile, which also gives the server time to take too much.
  const other = await enter()
  for (let round = 0; round < 50; round++) {
    other.say(request(cmd.write, { payload: Uint8Array.of(1) }))
    await hearReply(other)
  }
  expect(asked).toBeLessThan(32 * mebibyte)
  for (let index = 0; index < 100; index++)
    expect((await client.hear(16 + mebibyte)).length).toBe(16 + mebibyte)
  expect(asked).toBe(100 * mebibyte)
})

test.each([
  ['that are to be cached', cmd.cache, 0, 16],
  ['of zeros that leave no hole', cmd.writeZeroes, flag.noHole, 16],
  ['whose status is asked', cmd.blockStatus, 0, 64],
])(
  'of many ranges %s no more are taken at once than memory is meant for',
  async (_what, type, flags, most) => {
    let taken = 0
    const never = async (): Promise<never> => {
      taken++
      return new Promise<never>(() => undefined)
    }
    await serve({ ...memoryDevice(new Uint8Array(1_048_576)), read: never, write: never, extents: never })
    const client = await dial()
    const context = option(10, contextRequest('disk', 'base:allocation'))
    client.say(Uint8Array.of(0, 0, 0, 3), option(8), context, option(7, infoRequest('disk')))
    client.say(...Array.from({ length: 200 }, () => request(type, { flags, length: 1_048_576 })))
    // Another client is served meanwhile, which also gives the server time to take too much.
    const other = await enter()
    for (let round = 0; round < 20; round++) {
      other.say(request(cmd.trim, { length: 4096 }))
      await hearReply(other)
    }
    expect(taken).toBeGreaterThan(1)
    expect(taken).toBeLessThanOrEqual(most)
  },
)

test.each(['simple', 'structured'])(
  'many reads at once are each answered with their own bytes, at once or later, in %s replies',
  async (style) => {
    const content = randomBytes(4 * 1_048_576)
    await serve(readyDevice(content, false))
    const client = await dial()
    const structured = style === 'structured' ? [option(8)] : []
    client.say(Uint8Array.of(0, 0, 0, 3), ...structured, option(7, infoRequest('disk')))
    await client.hear(greetingBytes + goReplyBytes + 20 * structured.length)
    const lengths = [4096, 512, 1, 16_384, 40_000, 4096, 4000, 65_536]
    const reads = Array.from({ length: 2000 }, (_, index) => ({
      offset: (index * 7919 * 512) % 4_000_000,
      length: lengths[index % lengths.length] ?? 0,
    }))
    const asked = reads.map(({ offset, length }, index) =>
      request(cmd.read, { cookie: BigInt(index), offset: BigInt(offset), length }),
    )
    client.say(...asked)
    const waiting = new Set(reads.keys())
    while (waiting.size > 0) {
      const header = await client.hear(style === 'structured' ? 28 : 16)
      const index = Number(header.readBigUInt64BE(8))
      const { offset = 0, length = 0 } = reads[index] ?? {}
      expect(waiting.delete(index)).toBe(true)
      const data = await client.hear(length)
      expect(Buffer.compare(data, content.subarray(offset, offset + length))).toBe(0)
      if (style === 'structured') expect(header.readBigUInt64BE(20)).toBe(BigInt(offset))
      else expect(header.readUInt32BE(4)).toBe(0)
    }
  },
)

test('closing answers what is in flight, refuses what still comes and ends the connections', async () => {
  const slow = Promise.withResolvers<void>()
  const device = memoryDevice(new Uint8Array(65_536))
  const server = await serve({ ...device, write: () => slow.promise })
  const [busy, idle] = [await enter(), await enter()]
  busy.say(request(cmd.write, { cookie: 1n, payload: Uint8Array.of(1) }))
  busy.say(request(cmd.read, { cookie: 2n, length: 1 }))
  expect((await busy.hear(17)).readBigUInt64BE(8)).toBe(2n)
  const closed = server.close()
  expect((await idle.hear(1)).length).toBe(0)
  busy.say(request(cmd.read, { cookie: 3n, length: 1 }))
  expect(await hearReply(busy)).toEqual([3n, eshutdown])
  slow.resolve()
  expect(await hearReply(busy)).toEqual([1n, 0])
  expect((await busy.hear(1)).length).toBe(0)
  busy.socket.end()
  idle.socket.end()
  await closed
})

test('closing gives up a request that its device never answers', async () => {
  const [reading, writing] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const device = memoryDevice(new Uint8Array(65_536))
  const server = await serve({
    ...device,
    read: (_offset, _length, signal) => {
      reading.resolve()
      return new Promise((_, reject) =>
        signal?.addEventListener('abort', () => reject(signal.reason as Error)),
      )
    },
    write: () => {
      writing.resolve()
      return new Promise(() => undefined)
    },
  })
  const [patient, hopeless] = [await enter(), await enter()]
  patient.say(request(cmd.read, { cookie: 1n, length: 1 }))
  hopeless.say(request(cmd.write, { cookie: 2n, payload: Uint8Array.of(1) }))
  await Promise.all([reading.promise, writing.promise])
  const closed = server.close()
  expect(await hearReply(patient)).toEqual([1n, eshutdown])
  expect((await hopeless.hear(1)).length).toBe(0)
  await closed
})

test('a client that breaks the protocol is dropped, and the server says why', async () => {
  await serve(memoryDevice(new Uint8Array(65_536)))
  const [early, late] = [await dial(), await enter()]
  early.say(Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'))
  late.say(new Uint8Array(28))
  await early.hear(greetingBytes + 1)
  expect((await late.hear(1)).length).toBe(0)
  expect(new Set(codes(dropped))).toEqual(new Set(['NBD_BAD_MAGIC', 'NBD_CLIENT_FLAGS']))
})

test('more connections than allowed are dropped, and one that ends makes room', async () => {
  await serve(memoryDevice(new Uint8Array(4096)), { maximumConnections: 1 })
  const first = await enter()
  const second = await dial()
  expect((await second.hear(1)).length).toBe(0)
  expect(codes(dropped)).toEqual(['NBD_TOO_MANY_CONNECTIONS'])
  first.say(request(cmd.disc))
  await first.hear(1)
  first.socket.end()
  await once(first.socket, 'close')
  // The server learns of the end when it looks: until then there is still no room.
  let heard = 0
  while (heard === 0) heard = (await (await dial()).hear(greetingBytes)).length
  expect(heard).toBe(greetingBytes)
})

test('a client on TCP that says nothing is asked from time to time whether it is there', async () => {
  const server = await serve(memoryDevice(new Uint8Array(4096)))
  const port = await server.listenTcp({ host: '127.0.0.1', port: 0 }, () => ({}))
  const client = new Client(connect(port, '127.0.0.1'))
  await client.hear(greetingBytes)
  // Of the server's end: local address, peer, established, queues, and 02, the timer that keeps alive; see proc_net_tcp.rst.
  const end = new RegExp(`:${port.toString(16).toUpperCase().padStart(4, '0')} [0-9A-F:]+ 01 [0-9A-F:]+ 02:`)
  await vi.waitFor(async () => expect(await readFile('/proc/net/tcp', 'utf8')).toMatch(end))
})

test('a connection that is there already is served until it ends', async () => {
  const server = await serve(memoryDevice(new Uint8Array(4096)))
  const sent: Uint8Array[] = []
  const stream = new Duplex({
    read: () => undefined,
    write: (chunk: Uint8Array, _encoding, done) => {
      sent.push(chunk)
      done()
    },
  })
  stream.push(concatBytes(Uint8Array.of(0, 0, 0, 3), option(2)))
  stream.push(null)
  await server.serve(stream)
  expect(concatBytes(...sent).length).toBe(greetingBytes + 20)
})

test('activation is for the process it names', () => {
  const environment = { LISTEN_PID: '42', LISTEN_FDS: '2' }
  expect(activatedDescriptors(environment, 42)).toEqual([3, 4])
  expect(activatedDescriptors(environment, 43)).toEqual([])
  expect(activatedDescriptors({ LISTEN_PID: '42', LISTEN_FDS: '-1' }, 42)).toEqual([])
  expect(activatedDescriptors({}, 42)).toEqual([])
})
