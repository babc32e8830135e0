import { expect, test } from 'vitest'
import { BlobError } from '#core/blobs/index.ts'
import { memoryDevice } from '#core/block/memory-device.fixture.ts'
import { importDevice, memoryStore, noise, openDevice } from './artifact.fixture.ts'
import { inTurn, type Patience } from './in-turn.ts'
import type { StoredCache } from './stored-cache.ts'

const away = new BlobError('BLOB_UNAVAILABLE', 'away')
const { signal } = new AbortController()

function patienceOf(rounds: number): Patience & { readonly pauses: number[] } {
  const pauses: number[] = []
  return { rounds, pauses, pause: async (round) => void pauses.push(round) }
}

async function firstIsAway(source: number): Promise<number> {
  if (source === 1) throw away
  return source
}

async function hasNothing(): Promise<never> {
  throw new BlobError('BLOB_MISSING', 'not here')
}

test('a source that is away costs nothing while another is there', async () => {
  const patience = patienceOf(5)
  expect(await inTurn(() => [1, 2], firstIsAway, patience, signal)).toBe(2)
  expect(patience.pauses).toEqual([])
})

test('sources that are all away are asked again after pauses, and no oftener than that', async () => {
  const patience = patienceOf(4)
  let asked = 0
  const ask = async (): Promise<string> => {
    asked += 1
    if (asked < 6) throw away
    return 'there'
  }
  expect(await inTurn(() => [1, 2], ask, patience, signal)).toBe('there')
  expect(patience.pauses).toEqual([1, 2])
  asked = -100
  await expect(inTurn(() => [1, 2], ask, patience, signal)).rejects.toThrow('away')
})

test('what waiting cannot mend is said at once', async () => {
  const patience = patienceOf(4)
  await expect(inTurn(() => [1, 2], hasNothing, patience, signal)).rejects.toThrow('not here')
  expect(patience.pauses).toEqual([])
})

test('an index that was found wrong is not kept: another store is used, and the same one when it was put right', async () => {
  const chunk = 65_536
  const bytes = new Uint8Array(40 * chunk)
  bytes.set(noise(20 * chunk, 1), 10 * chunk)
  const honest = memoryStore('honest')
  const { manifestDigest } = await importDevice(memoryDevice(bytes, false), honest)
  const [indexDigest] = [...honest.blobs].find(([, blob]) =>
    Buffer.from(blob).toString('latin1').startsWith('TCINDEX1'),
  )!
  // In the header, in the table of packs, in a page, in a place.
  for (const at of [30, 70, 4096 + 32 * 12, 4096 + 4096 + 16 * 12 + 3]) {
    const kept = new Map<string, Uint8Array>()
    const cache: StoredCache = {
      get: async (name) => kept.get(name)?.slice(),
      has: async (name) => kept.has(name),
      put: (name, value) => kept.set(name, new Uint8Array(value)).has(name),
      drop: (name) => void kept.delete(name),
    }
    const liar = memoryStore('liar')
    for (const [digest, blob] of honest.blobs) liar.blobs.set(digest, new Uint8Array(blob))
    for (const [name, tag] of honest.tags) liar.tags.set(name, tag)
    liar.blobs.get(indexDigest)![at]! ^= 1
    const readAll = async (stores: Parameters<typeof openDevice>[1]): Promise<void> => {
      await using image = await openDevice(manifestDigest, stores, { cache })
      expect(Buffer.compare(await image.device.read(0n, bytes.length), bytes)).toBe(0)
    }
    await readAll([liar, honest])
    await readAll([honest])
    liar.blobs.set(indexDigest, honest.blobs.get(indexDigest)!)
    await readAll([liar])
  }
})
