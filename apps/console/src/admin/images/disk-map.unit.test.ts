import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { cellRuns, describeDisk } from './disk-map.ts'

const MiB = 1024 * 1024

test('neighbours of one kind are one run', () => {
  expect(cellRuns('ssc..z')).toEqual([
    { kind: 'same', start: 0, length: 2 },
    { kind: 'changed', start: 2, length: 1 },
    { kind: 'empty', start: 3, length: 2 },
    { kind: 'cleared', start: 5, length: 1 },
  ])
})

test('runs cover the disk without a gap', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom('s', 'c', 'z', '.'), { maxLength: 600 }), (letters) => {
      const cells = letters.join('')
      let end = 0
      for (const { start, length } of cellRuns(cells)) {
        expect(start).toBe(end)
        end += length
      }
      expect(end).toBe(cells.length)
    }),
  )
})

test('the picture is said in words: how much, and where', () => {
  const comparison = {
    against: '1',
    sizeBytes: 1024 * MiB,
    sameBytes: 960 * MiB,
    changedBytes: 60 * MiB,
    clearedBytes: 4 * MiB,
    changedStoredBytes: 20 * MiB,
    cells: `${'s'.repeat(128)}${'c'.repeat(128)}${'.'.repeat(255)}z`,
  }
  expect(describeDisk('2', comparison)).toBe(
    'Of the 1 GiB of the disk, 94 % are in 2 as in 1; 60 MiB changed and 4 MiB were cleared. It changed from 25 % to 50 % of the disk.',
  )
})

test('of many places the first are named', () => {
  const comparison = {
    against: '1',
    sizeBytes: 512,
    sameBytes: 256,
    changedBytes: 256,
    clearedBytes: 0,
    changedStoredBytes: 0,
    cells: 'cs'.repeat(256),
  }
  expect(describeDisk('2', comparison)).toContain('and in 252 more places of the disk')
})
