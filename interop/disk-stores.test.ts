import { once } from 'node:events'
import { cp, mkdtemp, open, readdir, readFile, rm } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openDirectoryStore } from '#adapters/blobs-directory/index.ts'
import { type OpenDisk, type OpenDiskOptions, openDisk } from '#apps/endpoint/disk/open-disk.ts'
import { importDevice, noise, testKey } from '#core/artifact/artifact.fixture.ts'
import { readKnownChunks } from '#core/artifact/index.ts'
import type { BlobDigest } from '#core/blobs/index.ts'
import { memoryDevice } from '#core/block/memory-device.fixture.ts'
import { freePort, makePki, type RunningServer, startNginx, type TestPki } from './blob-servers.rig.ts'

/** A disk whose stores are web servers that go away, cut off or lie. */

const chunk = 65_536
const size = 160 * chunk

let folder: string
let original: Uint8Array
let manifestDigest: BlobDigest
let pki: TestPki
let nginx: RunningServer
let caches = 0

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'disk-stores-'))
  original = new Uint8Array(size)
  original.set(noise(140 * chunk, 1), 10 * chunk)
  {
    await using store = await openDirectoryStore(join(folder, 'honest'), { create: true })
    ;({ manifestDigest } = await importDevice(memoryDevice(original, false), store))
  }
  await cp(join(folder, 'honest'), join(folder, 'liar'), { recursive: true })
  await alterPacks(join(folder, 'liar'))
  pki = await makePki()
  nginx = await startNginx(folder, pki)
})

afterAll(async () => {
  await nginx[Symbol.asyncDispose]()
  await pki[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

/** In each pack a bit of every chunk; manifests and the index stay as they are. */
async function alterPacks(store: string): Promise<void> {
  const blobs = join(store, 'blobs/sha256')
  for (const name of await readdir(blobs)) {
    await using file = await open(join(blobs, name), 'r+')
    const { size: bytes } = await file.stat()
    if (bytes < 1_048_576) continue
    const byte = Buffer.alloc(1)
    for (let at = 1000; at < bytes; at += chunk / 2) {
      await file.read(byte, 0, 1, at)
      await file.write(
        byte.map((value) => value ^ 1),
        0,
        1,
        at,
      )
    }
  }
}

function address(name: 'honest' | 'liar' | 'shared', port = nginx.port): string {
  return `https://localhost:${port}/${name}/`
}

/** With an empty cache of its own. */
function opened(stores: OpenDiskOptions['stores'], more: Partial<OpenDiskOptions> = {}): Promise<OpenDisk> {
  caches += 1
  return openDisk({
    reference: { name: 'disk', version: '1' },
    manifestDigest,
    stores,
    storeOptions: { ca: pki.ca },
    key: testKey,
    cache: { dir: join(folder, `cache-${caches}`), maximumBytes: 1e9 },
    memoryBytes: 16 * chunk,
    overlay: 'read-only',
    overlayDir: join(folder, 'overlays'),
    warn: () => {},
    ...more,
  })
}

/** Fails the test unless all of it reads as it was imported. */
async function expectWhole({ device }: OpenDisk): Promise<void> {
  const step = 20 * chunk
  const parts = Array.from({ length: size / step }, async (_, part) => {
    const bytes = await device.read(BigInt(part * step), step)
    return Buffer.compare(bytes, original.subarray(part * step, (part + 1) * step))
  })
  expect(await Promise.all(parts)).toEqual(Array<number>(size / step).fill(0))
}

test('a store that is gone only delays reads, and the opening of a disk', async () => {
  await using disk = await opened([address('honest')])
  await disk.device.read(BigInt(10 * chunk), chunk)
  await nginx.kill()
  let isBack = false
  const start = async (): Promise<void> => {
    await sleep(2500)
    isBack = true
    await nginx.start()
  }
  const starting = start()
  const opening = opened([address('honest')])
  await expectWhole(disk)
  expect(isBack).toBe(true)
  await starting
  await using late = await opening
  await expectWhole(late)
})

test('a store that is gone for more than a minute only delays reads', async () => {
  let passedMs = 0
  let returning: Promise<void> | undefined
  // Time passes as it is waited for; the server is really gone meanwhile.
  const pause = async (milliseconds: number): Promise<void> => {
    passedMs += milliseconds
    if (passedMs > 60_000) await (returning ??= nginx.start())
  }
  await using disk = await opened([address('honest')], { pause })
  await disk.device.read(BigInt(10 * chunk), chunk)
  await nginx.kill()
  try {
    const bytes = await disk.device.read(BigInt(50 * chunk), chunk)
    expect(Buffer.compare(bytes, original.subarray(50 * chunk, 51 * chunk))).toBe(0)
    expect(passedMs).toBeGreaterThan(60_000)
  } finally {
    await (returning ?? nginx.start())
  }
})

test('a store that answers in drips only delays reads', async () => {
  await using server = await rangeServer(folder, pki)
  await using disk = await opened([address('honest', server.port)])
  server.between = () => sleep(10)
  const bytes = await disk.device.read(BigInt(50 * chunk), chunk)
  expect(Buffer.compare(bytes, original.subarray(50 * chunk, 51 * chunk))).toBe(0)
})

test('a store is asked for at least eight ranges at once', async () => {
  await using server = await rangeServer(folder, pki)
  await using disk = await opened([address('honest', server.port)])
  const eight = Promise.withResolvers<void>()
  // Nothing is answered before so many have asked.
  server.before = (asking) => {
    if (asking >= 8) eight.resolve()
    return eight.promise
  }
  // Not beside one another, which would be read by one request.
  await Promise.all(
    Array.from({ length: 10 }, (_, at) => disk.device.read(BigInt((12 + 10 * at) * chunk), 1)),
  )
})

test('readers of one chunk make one request together', async () => {
  await using server = await rangeServer(folder, pki)
  await using disk = await opened([address('honest', server.port)])
  const begun = server.asked()
  const [asking, all] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  server.before = () => {
    asking.resolve()
    return all.promise
  }
  // Backwards: nobody reads ahead.
  const places = Array.from({ length: 32 }, (_, at) => 50 * chunk + (31 - at) * 1024)
  const read = (at: number) => disk.device.read(BigInt(at), 1024)
  const first = read(places[0]!)
  await asking.promise
  const others = places.slice(1).map(read)
  all.resolve()
  for (const [index, bytes] of (await Promise.all([first, ...others])).entries()) {
    const at = places[index]!
    expect(Buffer.compare(bytes, original.subarray(at, at + 1024))).toBe(0)
  }
  expect(server.asked() - begun).toBe(1)
})

test('a store that nobody answers for, or that lies, is left for another one', async () => {
  const dead = await freePort()
  await using first = await opened([address('honest', dead), address('honest')])
  await expectWhole(first)
  await using second = await opened([address('liar'), address('honest')])
  await expectWhole(second)
  await using third = await opened([address('liar'), address('honest', dead), join(folder, 'honest')])
  await expectWhole(third)
})

test('what only a liar has is not read', async () => {
  await using disk = await opened([address('liar')])
  await expect(disk.device.read(BigInt(50 * chunk), chunk)).rejects.toMatchObject({
    code: 'ARTIFACT_WRONG_CHUNK',
  })
})

test('an answer that is cut off in its middle only delays reads', async () => {
  await using proxy = await cutting(nginx.port, { connections: 20, afterBytes: 150_000 })
  await using disk = await opened([address('honest', proxy.port)])
  await expectWhole(disk)
  expect(proxy.cut()).toBeGreaterThan(10)
})

test('whoever reads in order is read ahead of, and whoever reads one place is not', async () => {
  await using disk = await opened([address('honest')], { memoryBytes: 32 * 1_048_576 })
  const stored = chunk + 100
  await disk.device.read(BigInt(100 * chunk), 16_384)
  expect(disk.stats().bytesFetched).toBeLessThan(stored)
  const until = 26 * chunk
  for (let at = 10 * chunk; at < until; at += 16_384) await disk.device.read(BigInt(at), 16_384)
  await expect.poll(() => disk.stats().bytesFetched).toBeGreaterThan((1 + 16 + 8) * stored)
  const { requests } = disk.stats()
  await disk.device.read(BigInt(until), 4 * chunk)
  expect(disk.stats().requests).toBe(requests)
})

test('what a disk reads is pinned though its name was taken away, or given to another image, before', async () => {
  const path = join(folder, 'pinned')
  await cp(join(folder, 'honest'), path, { recursive: true })
  await using store = await openDirectoryStore(path)
  const collect = async (): Promise<number> =>
    (await store.collect({ graceMs: 0, now: Date.now() + 1000 })).deleted
  {
    await using disk = await opened([path])
    await importDevice(memoryDevice(new Uint8Array(chunk).fill(1), false), store)
    await disk.pin()
    await store.untag({ name: 'disk', version: '1' })
    expect(await collect()).toBe(4)
    await expectWhole(disk)
  }
  expect(await collect()).toBeGreaterThan(4)
})

test('whoever reads over the network goes on while what no image needs is collected, and afterwards', async () => {
  const path = join(folder, 'shared')
  await cp(join(folder, 'honest'), path, { recursive: true })
  await using store = await openDirectoryStore(path)
  await using disk = await opened([address('shared')])
  const name = { name: 'disk', keyId: disk.manifest.keyId }
  const known = await readKnownChunks(store, name, AbortSignal.any([]))
  const newer = new Uint8Array(original)
  newer.set(noise(20 * chunk, 2), 40 * chunk)
  await importDevice(memoryDevice(newer, false), store, { version: '2', known })
  await store.untag({ name: 'disk', version: '2' })
  const collecting = store.collect({ graceMs: 0, now: Date.now() + 1000 })
  const [{ deleted, freedBytes }] = await Promise.all([collecting, expectWhole(disk)])
  expect(deleted).toBeGreaterThan(0)
  expect(freedBytes).toBeGreaterThan(20 * chunk)
  // What both versions name is not among it.
  expect(freedBytes).toBeLessThan(40 * chunk)
  await using another = await opened([address('shared')])
  await expectWhole(another)
})

test('whoever opened what is collected before it is pinned is told', async () => {
  const path = join(folder, 'collected')
  await cp(join(folder, 'honest'), path, { recursive: true })
  await using store = await openDirectoryStore(path)
  const warnings: unknown[] = []
  await using disk = await opened([path], { warn: (error) => warnings.push(error) })
  await store.untag({ name: 'disk', version: '1' })
  await store.collect({ graceMs: 0, now: Date.now() + 1000 })
  await disk.pin()
  expect(warnings).toMatchObject([{ code: 'BLOB_MISSING' }])
})

interface RangeServer extends AsyncDisposable {
  readonly port: number
  /** How many requests it has had. */
  asked(): number
  /** What is waited for before an answer. @param asking requests that wait now */
  before: (asking: number) => Promise<void> | undefined
  /** What is waited for between parts of 1 KiB. */
  between: (() => Promise<void>) | undefined
}

/** Serves a folder by ranges over TLS 1.3, as slowly as it is told, and counts. */
async function rangeServer(root: string, { server: files }: TestPki): Promise<RangeServer> {
  const [cert, key] = await Promise.all([readFile(files.cert), readFile(files.key)])
  let [asked, asking] = [0, 0]
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    asked += 1
    asking += 1
    await told.before(asking)
    asking -= 1
    const bytes = await readFile(join(root, request.url ?? ''))
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
    const part = first === undefined ? bytes : bytes.subarray(Number(first), Number(last) + 1)
    const status = first === undefined ? 200 : 206
    response.writeHead(status, {
      'content-length': part.length,
      ...(first !== undefined && { 'content-range': `bytes ${first}-${last}/${bytes.length}` }),
    })
    for (let at = 0; at < part.length; ) {
      const end = told.between === undefined ? part.length : at + 1024
      response.write(part.subarray(at, end))
      at = end
      await told.between?.()
    }
    response.end()
  }
  const server = createHttpsServer(
    { cert, key, minVersion: 'TLSv1.3' },
    (request, response) =>
      void answer(request, response).catch((error: unknown) => response.destroy(error as Error)),
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const told: RangeServer = {
    port: (server.address() as AddressInfo).port,
    asked: () => asked,
    before: () => undefined,
    between: undefined,
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
  return told
}

interface Cutting extends AsyncDisposable {
  readonly port: number
  /** Connections that were cut off. */
  cut(): number
}

/** Passes bytes on to a port of this machine, and cuts the first connections off after so many of an answer. */
async function cutting(
  port: number,
  limits: { readonly connections: number; readonly afterBytes: number },
): Promise<Cutting> {
  const sockets = new Set<Socket>()
  let cut = 0
  let left = limits.connections
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1')
    const isShort = left > 0
    if (isShort) left -= 1
    let passed = 0
    const end = (): void => {
      near.destroy()
      far.destroy()
    }
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('close', end).on('error', end)
    }
    near.pipe(far)
    far.on('data', (bytes: Buffer) => {
      passed += bytes.length
      near.write(bytes)
      if (!isShort || passed < limits.afterBytes) return
      cut += 1
      end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    cut: () => cut,
    async [Symbol.asyncDispose]() {
      server.close()
      for (const socket of sockets) socket.destroy()
      await once(server, 'close')
    },
  }
}
