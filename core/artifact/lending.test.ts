import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { digestOf } from '#core/blobs/index.ts'
import { memoryDevice } from '#core/block/memory-device.fixture.ts'
import { giveBack } from '#core/bytes/give-back.ts'
import { importDevice, memoryStore, noise, openDevice } from './artifact.fixture.ts'
import type { StoredCache } from './stored-cache.ts'

const chunk = 65_536
const chunks = 12

/** Some chunks that compress and some that do not. */
function disk(): Uint8Array {
  const bytes = new Uint8Array(chunks * chunk)
  for (let at = 0; at < chunks; at++) {
    bytes.set(at % 2 === 0 ? noise(chunk, at + 1) : Buffer.alloc(chunk, `chunk ${at} `), at * chunk)
  }
  return bytes
}

/** An opened disk of which two chunks stay in memory. */
async function small() {
  const bytes = disk()
  const store = memoryStore()
  const { manifestDigest } = await importDevice(memoryDevice(bytes, false), store)
  const image = await openDevice(manifestDigest, [store], { memoryBytes: 2 * chunk })
  return { bytes, image, device: image.device }
}

const at = (number: number): bigint => BigInt(number * chunk)

test('memory is given back when everybody is done and the chunk is forgotten, not before', async () => {
  const { bytes, image, device } = await small()
  await using _ = image
  for (const first of [0, 1]) {
    const [one, other] = [await device.read(at(first), 100), await device.read(at(first), chunk)]
    device.done(one)
    for (const next of [4, 5, 6]) await device.read(at(next), 1)
    expect(Buffer.compare(other, bytes.subarray(first * chunk, (first + 1) * chunk))).toBe(0)
    device.done(other)
    expect(other.length).toBe(0)
  }
  const kept = await device.read(at(8), 100)
  device.done(kept)
  expect(kept.length).toBe(100)
  expect(Buffer.compare(await device.read(at(8), 100), bytes.subarray(8 * chunk, 8 * chunk + 100))).toBe(0)
})

test('what is in memory is given at once, always the same memory, and stays before what was not asked for again', async () => {
  const { bytes, image, device } = await small()
  await using _ = image
  expect(device.readNow(0, 100)).toBeUndefined()
  for (const number of [0, 1, 2]) await device.read(at(number), 1)
  const [one, other] = [device.readNow(chunk + 5, 100), device.readNow(chunk + 7, 100)]
  expect(Buffer.compare(one!, bytes.subarray(chunk + 5, chunk + 105))).toBe(0)
  expect(other!.buffer).toBe(one!.buffer)
  await device.read(at(3), 1)
  expect(device.readNow(2 * chunk, 1)).toBeUndefined()
  expect(device.readNow(chunk, 1)).toHaveLength(1)
})

test('what was never said to be done stays as it is', async () => {
  const { bytes, image, device } = await small()
  const held = await Promise.all(
    Array.from({ length: chunks }, (_, number) => device.read(at(number), chunk)),
  )
  await image[Symbol.asyncDispose]()
  expect(Buffer.compare(Buffer.concat(held), bytes)).toBe(0)
})

test('bytes that are of no device, and zeros, may be said to be done', async () => {
  const { image, device } = await small()
  await using _ = image
  device.done(new Uint8Array(chunk))
  device.done(await device.read(0n, 0))
  expect((await device.read(0n, 10)).length).toBe(10)
})

test('whatever is read and given back in whatever order, everybody has what they read until they are done', async () => {
  const { bytes, image, device } = await small()
  await using _ = image
  const read = fc.record({ from: fc.nat(bytes.length - 1), length: fc.integer({ min: 1, max: 3 * chunk }) })
  await fc.assert(
    fc.asyncProperty(
      fc.array(read, { minLength: 1, maxLength: 30 }),
      fc.infiniteStream(fc.boolean()),
      async (reads, dones) => {
        const held = new Map<Uint8Array, Uint8Array>()
        const check = (): void => {
          for (const [got, expected] of held) expect(Buffer.compare(got, expected)).toBe(0)
        }
        await Promise.all(
          reads.map(async ({ from, length }) => {
            const end = Math.min(bytes.length, from + length)
            held.set(await device.read(BigInt(from), end - from), bytes.subarray(from, end))
            check()
            for (const [got] of held) {
              if (dones.next().value !== true) continue
              held.delete(got)
              device.done(got)
            }
            check()
          }),
        )
      },
    ),
    { numRuns: 60 },
  )
})

test('memory that others may share is not freed', () => {
  const part = new Uint8Array(100_000).subarray(0, 50_000)
  giveBack(part)
  expect(part.length).toBe(50_000)
  const little = new Uint8Array(100)
  giveBack(little)
  expect(little.length).toBe(100)
  const whole = new Uint8Array(100_000)
  giveBack(whole.subarray(8))
  expect(whole.length).toBe(0)
})

test('to be opened, a store is asked once what it has, and nothing when this machine keeps all of that', async () => {
  const store = memoryStore()
  const { manifestDigest } = await importDevice(memoryDevice(disk(), false), store)
  const asked: string[] = []
  const counted: typeof store = {
    ...store,
    manifest: (reference) => {
      asked.push(reference.version)
      return store.manifest(reference)
    },
  }
  const { cache } = mapCache()
  for (let turn = 0; turn < 2; turn++) {
    await using image = await openDevice(manifestDigest, [counted], { cache })
    expect(image.manifest.sizeBytes).toBe(chunks * chunk)
    expect(asked).toEqual(['1'])
  }
})

test('what is kept as a manifest under its own digest is looked at, too', async () => {
  const { kept, cache } = mapCache()
  const junk = Buffer.from('{"name":"disk","version":"1"}')
  const digest = digestOf(junk)
  kept.set(`${digest.slice(7)}.manifest`, junk)
  await expect(openDevice(digest, [memoryStore()], { cache })).rejects.toMatchObject({
    code: 'ARTIFACT_BAD_MANIFEST',
  })
})

function mapCache(): { readonly kept: Map<string, Uint8Array>; readonly cache: StoredCache } {
  const kept = new Map<string, Uint8Array>()
  return {
    kept,
    cache: {
      get: async (name) => kept.get(name)?.slice(),
      has: async (name) => kept.has(name),
      put: (name, value) => kept.set(name, value.slice()).has(name),
      drop: (name) => void kept.delete(name),
    },
  }
}
