import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { patternedDisk } from './disk.fixture.ts'
import { memoryDevice } from './memory-device.fixture.ts'
import { DenseReads, readAround } from './read-around.ts'

test('when two chunks of four were read the others are fetched, and of larger blocks when half was', () => {
  const reads = new DenseReads(1000, 32)
  expect(reads.read(101)).toEqual([])
  expect(reads.read(105)).toEqual([])
  expect(reads.read(103)).toEqual([100, 102])
  expect(reads.read(107)).toEqual([104, 106])
  expect(reads.read(100)).toEqual([])
  expect(reads.read(110)).toEqual([])
  // The fourth of eight at 96, and then the eighth of sixteen.
  expect(reads.read(97)).toEqual([96, 98, 99])
  expect(reads.read(98)).toEqual([108, 109, 111])
})

test('no block is larger than what is allowed, and none reaches beyond the end', () => {
  const reads = new DenseReads(6, 4)
  expect(reads.read(0)).toEqual([])
  expect(reads.read(1)).toEqual([2, 3])
  expect(reads.read(4)).toEqual([])
  expect(reads.read(5)).toEqual([])
})

test('whatever is read, no chunk is named twice or after it was read, and with them it is at most twice what was read', () => {
  const sizes = fc.record({ chunks: fc.integer({ min: 1, max: 300 }), most: fc.integer({ min: 0, max: 64 }) })
  fc.assert(
    fc.property(sizes, fc.array(fc.nat({ max: 299 }), { maxLength: 600, size: 'max' }), (size, places) => {
      const reads = new DenseReads(size.chunks, size.most)
      const [read, named] = [new Set<number>(), new Set<number>()]
      for (const chunk of places.filter((place) => place < size.chunks)) {
        read.add(chunk)
        for (const near of reads.read(chunk)) {
          expect(near).toBeLessThan(size.chunks)
          expect(Math.abs(near - chunk)).toBeLessThan(Math.max(4, size.most))
          expect(read.has(near) || named.has(near)).toBe(false)
          named.add(near)
        }
        expect(named.union(read).size).toBeLessThanOrEqual(2 * read.size)
      }
    }),
  )
})

test('what is read again asks for nothing, and what is asked for lies on the disk', async () => {
  const asked: number[] = []
  // Six blocks and a bit.
  const inner = memoryDevice(patternedDisk(25_000), false)
  await using device = readAround(inner, {
    warm: (offset, length) => asked.push(offset, length),
    maximumBlockBytes: 1_048_576,
  })
  await device.read(4000n, 200)
  await device.read(4000n, 200)
  await device.read(0n, 4096)
  expect(asked).toEqual([8192, 4096, 12_288, 4096])
  await device.read(24_999n, 1)
  await device.read(25_000n, 0)
  await expect(device.read(25_000n, 1)).rejects.toMatchObject({ code: 'BLOCK_OUT_OF_RANGE' })
  expect(asked).toHaveLength(4)
})
