import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { AuditError } from './errors.ts'
import { leafHash, treeHash } from './merkle.ts'
import {
  changedTiles,
  decodeEntryBundle,
  encodeEntryBundle,
  encodeHashTile,
  parseTilePath,
  tilePath,
} from './tiles.ts'

const paths = (from: bigint, to: bigint): string[] => [...changedTiles(from, to)].map(tilePath)

test('paths are written as the specification writes them', () => {
  expect(tilePath({ level: 0, index: 1_234_067n, width: 256 })).toBe('tile/0/x001/x234/067')
  expect(tilePath({ level: 1, index: 0n, width: 17 })).toBe('tile/1/000.p/17')
  expect(tilePath({ level: 'entries', index: 1000n, width: 1 })).toBe('tile/entries/x001/000.p/1')
})

test('every path names its tile again, and nothing else is a path', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.nat(63), fc.constant('entries' as const)),
      fc.bigInt({ min: 0n, max: 1n << 55n }),
      fc.integer({ min: 1, max: 256 }),
      (level, index, width) => {
        expect(parseTilePath(tilePath({ level, index, width }))).toEqual({ level, index, width })
      },
    ),
  )
  for (const path of [
    'tile/0/1',
    'tile/00/001',
    'tile/64/001',
    'tile/0/x000/001',
    'tile/0/001/002',
    'tile/0/001.p/0',
  ]) {
    expect(parseTilePath(path), path).toBeUndefined()
  }
  for (const path of [
    'tile/0/001.p/256',
    'tile/0/001.p/01',
    '/tile/0/001',
    'tile/0/../001',
    `tile/0/${'x001/'.repeat(99)}001`,
  ]) {
    expect(parseTilePath(path), path).toBeUndefined()
  }
  fc.assert(
    fc.property(fc.string(), (path) => {
      expect(parseTilePath(`tile/${path}`)).toBeUndefined()
    }),
  )
})

test('a tree of 70,000 has the tiles that the specification counts', () => {
  const all = [...changedTiles(0n, 70_000n)]
  const widths = (level: number | 'entries', isFull: boolean): number[] =>
    all.filter((tile) => tile.level === level && (tile.width === 256) === isFull).map(({ width }) => width)
  expect(widths(0, true)).toHaveLength(273)
  expect(widths(0, false)).toEqual([112])
  expect(widths('entries', false)).toEqual([112])
  expect(widths(1, true)).toHaveLength(1)
  expect(widths(1, false)).toEqual([17])
  expect(widths(2, false)).toEqual([1])
  expect(widths(3, false)).toEqual([])
})

test('a tree that grows changes its right edge only', () => {
  expect(paths(5n, 5n)).toEqual([])
  expect(paths(255n, 256n)).toEqual(['tile/entries/000', 'tile/0/000', 'tile/1/000.p/1'])
  expect(paths(256n, 258n)).toEqual(['tile/entries/001.p/2', 'tile/0/001.p/2'])
  expect(paths(250n, 600n)).toEqual([
    'tile/entries/000',
    'tile/0/000',
    'tile/entries/001',
    'tile/0/001',
    'tile/entries/002.p/88',
    'tile/0/002.p/88',
    'tile/1/000.p/2',
  ])
})

test('a tile of level 1 holds the roots of the full tiles below', () => {
  const leaves = Array.from({ length: 600 }, (_, i) => leafHash(Uint8Array.of(i >> 8, i & 255)))
  expect(encodeHashTile(0, leaves.slice(0, 3))).toEqual(Buffer.concat(leaves.slice(0, 3)))
  expect(encodeHashTile(1, leaves)).toEqual(
    Buffer.concat([treeHash(leaves.slice(0, 256)), treeHash(leaves.slice(256, 512))]),
  )
  expect(() => encodeHashTile(0, leaves)).toThrow(expect.objectContaining({ code: 'AUDIT_BAD_RANGE' }))
  expect(() => encodeHashTile(1, leaves.slice(0, 255))).toThrow(AuditError)
})

test('entries come out of a bundle as they went in', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 256 }), (entries) => {
      const decoded = decodeEntryBundle(encodeEntryBundle(entries), entries.length)
      expect(decoded.map((entry) => [...entry])).toEqual(entries.map((entry) => [...entry]))
    }),
  )
  const largest = new Uint8Array(65_535)
  expect(decodeEntryBundle(encodeEntryBundle([largest]), 1)[0]).toHaveLength(65_535)
  expect(() => encodeEntryBundle([new Uint8Array(65_536)])).toThrow(AuditError)
  expect(() => encodeEntryBundle(Array.from({ length: 257 }, () => largest))).toThrow(AuditError)
})

test('arbitrary bytes are a bundle or are refused with a code', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), fc.nat(300), (bytes, width) => {
      try {
        expect(encodeEntryBundle(decodeEntryBundle(bytes, width))).toEqual(Buffer.from(bytes))
      } catch (error) {
        expect(error).toBeInstanceOf(AuditError)
      }
    }),
  )
})
