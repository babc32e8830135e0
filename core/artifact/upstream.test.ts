import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type BlobDigest, BlobError, type BlobReader } from '#core/blobs/index.ts'
import { memoryStore, noise } from './artifact.fixture.ts'
import { storedDigest } from './chunk.ts'
import type { ChunkReader, ChunkReference, Wish } from './chunk-reader.ts'
import { type FetchCounts, upstreamChunks } from './upstream.ts'

const length = 1000
/** Chunks lie apart, so that each takes a request of its own. */
const apart = 2 * length
const pack: BlobDigest = `sha256:${'1'.repeat(64)}`
const content = noise(1_200_000, 1)

function chunkOf(offset: number, size: number): ChunkReference {
  const digest = storedDigest(content.subarray(offset, offset + size))
  return { number: offset, digest, pack, offset, length: size }
}

const chunk = (number: number): ChunkReference => chunkOf(number * apart, length)

interface Held {
  readonly offset: number
  readonly length: number
  answer(): void
  fail(error: Error): void
}

/** A store that answers a request when it is told to. */
function heldStore(): { readonly reader: BlobReader; readonly asked: Held[] } {
  const asked: Held[] = []
  const read: BlobReader['read'] = (_digest, offset, size) => {
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
    asked.push({
      offset,
      length: size,
      answer: () => resolve(content.slice(offset, offset + size)),
      fail: reject,
    })
    return promise
  }
  return { reader: { ...memoryStore('held'), read }, asked }
}

function upstream(isOnly = true) {
  const { reader, asked } = heldStore()
  const counts: FetchCounts = { bytesFetched: 0, requests: 0, damaged: 0 }
  return { asked, counts, chunks: upstreamChunks(reader, counts, isOnly, new AbortController().signal) }
}

/** @returns whether what was read is what the store has there */
async function read(
  chunks: ChunkReader,
  wanted: ChunkReference,
  wish: Wish = { urgent: true },
): Promise<boolean> {
  const expected = content.subarray(wanted.offset, wanted.offset + wanted.length)
  return chunks.read(wanted, wish, (stored) => Buffer.compare(stored, expected) === 0)
}

/** Also what is asked for meanwhile. */
async function answerAll(asked: readonly Held[]): Promise<void> {
  for (let at = 0; at < asked.length; at++) {
    asked[at]!.answer()
    await turn()
  }
}

const numbers = (from: number, count: number): number[] => Array.from({ length: count }, (_, at) => from + at)

test('as many requests are under way as a slow line needs, and no more', async () => {
  const { asked, chunks, counts } = upstream()
  const reads = Promise.allSettled(numbers(0, 40).map((number) => read(chunks, chunk(number))))
  await turn()
  expect(asked.length).toBe(16)
  for (const [at, { offset }] of asked.entries()) expect(offset).toBe(at * apart)
  asked[3]!.answer()
  asked[9]!.fail(new Error('cut off'))
  await turn()
  expect(asked.length).toBe(18)
  await answerAll(asked)
  expect((await reads).filter(({ status }) => status === 'rejected').length).toBe(1)
  expect(counts).toEqual({ requests: 39, bytesFetched: 39 * length, damaged: 0 })
})

test('what is fetched ahead leaves places for who waits, who starts at once', async () => {
  const { asked, chunks } = upstream()
  const ahead = numbers(0, 40).map((number) => read(chunks, chunk(number), { urgent: false }))
  const urgent = [read(chunks, chunk(99))]
  await turn()
  expect(asked.length).toBe(12)
  expect(asked[0]!.offset / apart).toBe(99)
  asked[0]!.answer()
  await turn()
  asked.shift()
  expect(asked.map(({ offset }) => offset / apart)).toEqual(numbers(0, 12))
  urgent.push(...numbers(100, 6).map((number) => read(chunks, chunk(number))))
  await turn()
  expect(asked.slice(12).map(({ offset }) => offset / apart)).toEqual([100, 101, 102, 103])
  // Two who wait come next, and only then what nobody waits for: no more of it than before.
  for (const at of [0, 1, 2]) asked[at]!.answer()
  await turn()
  expect(asked.slice(16).map(({ offset }) => offset / apart)).toEqual([104, 105])
  for (const at of [12, 13, 14, 15]) asked[at]!.answer()
  await turn()
  expect(asked.slice(18).map(({ offset }) => offset / apart)).toEqual([12])
  await answerAll(asked)
  expect(await Promise.all([...ahead, ...urgent])).toEqual(Array<boolean>(47).fill(true))
})

test('what was to be fetched ahead and is then waited for overtakes the rest', async () => {
  const { asked, chunks } = upstream()
  const wishes = numbers(0, 40).map((): Wish => ({ urgent: false }))
  const ahead = wishes.map((wish, number) => read(chunks, chunk(number), wish))
  await turn()
  // By who asked for it, and by another reader of the same chunk.
  wishes[38]!.hurry?.()
  await turn()
  expect(asked.slice(12).map(({ offset }) => offset / apart)).toEqual([38])
  const joined = read(chunks, chunk(39))
  await turn()
  expect(asked.slice(12).map(({ offset }) => offset / apart)).toEqual([38, 39])
  await answerAll(asked)
  expect(await Promise.all([joined, ...ahead])).toEqual(Array<boolean>(41).fill(true))
  expect(asked.length).toBe(40)
})

test('a chunk that many ask for is fetched once while it is on its way, and anew after a failure', async () => {
  const { asked, chunks, counts } = upstream()
  const failing = Promise.allSettled(numbers(0, 5).map(() => read(chunks, chunk(7))))
  await turn()
  const late = Promise.allSettled([read(chunks, chunk(7))])
  await turn()
  expect(asked.length).toBe(1)
  asked[0]!.fail(new Error('cut off'))
  for (const { status } of [...(await failing), ...(await late)]) expect(status).toBe('rejected')
  const again = [read(chunks, chunk(7)), read(chunks, chunk(7), { urgent: false })]
  await turn()
  expect(asked.length).toBe(2)
  asked[1]!.answer()
  expect(await Promise.all(again)).toEqual([true, true])
  expect(counts).toEqual({ requests: 1, bytesFetched: length, damaged: 0 })
})

test('neighbours go by one request of at most 1 MiB, and one that is altered fails alone', async () => {
  const { asked, chunks } = upstream()
  const large = 300_000
  const neighbours = [0, 1, 2, 3].map((at) => chunkOf(at * large, large))
  neighbours[1] = { ...neighbours[1]!, digest: new Uint8Array(32) }
  const reads = Promise.allSettled(neighbours.map((wanted) => read(chunks, wanted)))
  await turn()
  expect(asked).toMatchObject([
    { offset: 0, length: 3 * large },
    { offset: 3 * large, length: large },
  ])
  for (const held of asked) held.answer()
  expect(await reads).toMatchObject([
    { value: true },
    { reason: { code: 'ARTIFACT_WRONG_CHUNK' } },
    { value: true },
    { value: true },
  ])
})

test('what waits for its turn at a store that has gone away fails with it where there is another store, and only there', async () => {
  const away = new BlobError('BLOB_UNAVAILABLE', 'it has not answered for too long')
  for (const [isOnly, failed] of [
    [true, 1],
    [false, 25],
  ] as const) {
    const { asked, chunks } = upstream(isOnly)
    const reads = numbers(0, 40).map((number) => read(chunks, chunk(number), { urgent: number < 20 }))
    const settled = Promise.allSettled(reads)
    await turn()
    const [first] = asked
    first!.fail(away)
    await expect(reads[first!.offset / apart]).rejects.toBe(away)
    const again = read(chunks, chunk(39))
    await turn()
    await answerAll(asked)
    expect((await settled).filter(({ status }) => status === 'rejected').length).toBe(failed)
    expect(await again).toBe(true)
  }
})
