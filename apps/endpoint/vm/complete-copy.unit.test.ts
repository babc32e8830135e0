import { expect, test } from 'vitest'
import type { ImageCopy } from '../disk/open-disk.ts'
import { type CopyProgress, completeCopy } from './complete-copy.ts'

const mebibyte = 1 << 20
const sizeBytes = 64 * mebibyte

/** An image whose second half is a hole, of which nothing is here yet; so many steps fail at first. */
function image(failures: number) {
  const kept = new Set<number>()
  let left = failures
  let [fetched, refused] = [0, 0]
  const copy: ImageCopy = {
    extents: async (offset, length) => [
      { length, kind: Number(offset) < sizeBytes / 2 ? ('data' as const) : ('hole' as const) },
    ],
    keep: async (offset, length) => {
      if (left-- > 0) {
        refused += 1
        return
      }
      if (!kept.has(offset)) fetched += length
      kept.add(offset)
    },
    pendingBytes: () => 0,
    sync: async () => true,
    refused: () => refused,
    isFailing: () => false,
  }
  return {
    copy,
    fetched: () => fetched,
    percentLocal: () => (fetched === sizeBytes / 2 ? 100 : 50),
  }
}

test('what is data is fetched once, and then all is there', async () => {
  const one = image(0)
  const seen: CopyProgress[] = []
  await completeCopy({
    ...one,
    sizeBytes,
    onProgress: (progress) => seen.push(progress),
    signal: new AbortController().signal,
  })
  expect(one.fetched()).toBe(sizeBytes / 2)
  expect(seen.at(-1)).toEqual({ doneBytes: sizeBytes, sizeBytes, isComplete: true })
  expect(seen.slice(0, -1).every(({ isComplete }) => !isComplete)).toBe(true)
})

test('what could not be kept is not called complete, and the signal ends it', async () => {
  const one = image(2)
  const ending = new AbortController()
  const seen: CopyProgress[] = []
  const done = completeCopy({
    ...one,
    sizeBytes,
    onProgress: (progress) => {
      seen.push(progress)
      if (progress.doneBytes === sizeBytes) ending.abort()
    },
    signal: ending.signal,
  })
  await done
  expect(seen.at(-1)).toMatchObject({ isComplete: false })
})

test.each([
  ['could not be written in the end', true, 1],
  ['is not durable', false, 0],
])('what %s is not called complete', async (_, isDurable, given) => {
  const one = image(0)
  let refused = 0
  const sync = async (): Promise<boolean> => {
    // As on a disk that is full: what waited is given up.
    refused += given
    return isDurable
  }
  const seen: CopyProgress[] = []
  const ending = new AbortController()
  await completeCopy({
    ...one,
    copy: { ...one.copy, refused: () => refused, sync },
    sizeBytes,
    onProgress: (progress) => {
      seen.push(progress)
      if (progress.doneBytes === sizeBytes) ending.abort()
    },
    signal: ending.signal,
  })
  expect([refused, seen.at(-1)]).toEqual([given, { doneBytes: sizeBytes, sizeBytes, isComplete: false }])
})

test('on a device that is full no more is fetched in vain', async () => {
  const one = image(Number.POSITIVE_INFINITY)
  const seen: CopyProgress[] = []
  await completeCopy({
    ...one,
    copy: { ...one.copy, isFailing: () => true },
    sizeBytes,
    onProgress: (progress) => seen.push(progress),
    signal: AbortSignal.timeout(200),
  })
  expect([one.copy.refused(), seen]).toEqual([1, []])
})

test('a limit holds it back, from the first step on', async () => {
  const one = image(0)
  await completeCopy({
    ...one,
    sizeBytes,
    bytesPerSecond: mebibyte,
    onProgress: () => {},
    signal: AbortSignal.timeout(200),
  })
  expect(one.fetched()).toBe(mebibyte / 4)
})
