import { createHash } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  buildTree,
  entryOf,
  fanOut,
  levelsOf,
  MerkleError,
  pageBytes,
  pageDigest,
  verifyPage,
} from './index.ts'

const digestOf = (text: string): Uint8Array => new Uint8Array(createHash('sha256').update(text).digest())

/** Walks down from the root as a reader does. */
function find(tree: ReturnType<typeof buildTree>, leaf: number): Uint8Array | undefined {
  let expected: Uint8Array | undefined = tree.root
  for (let level = tree.levels - 1; level >= 0; level--) {
    const reach = fanOut ** (level + 1)
    const page = tree.pages.find((one) => one.level === level && one.index === Math.floor(leaf / reach))?.page
    if (page === undefined || expected === undefined) return undefined
    verifyPage(level, page, expected)
    expected = entryOf(page, Math.floor(leaf / fanOut ** level) % fanOut)
  }
  return expected
}

test('every leaf is found from the root, and holes stay holes', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(50_000), { maxLength: 300 }), fc.nat(50_000), (leaves, other) => {
      const entries = leaves.map((leaf) => [leaf, digestOf(String(leaf))] as const)
      const tree = buildTree(entries, 50_001)
      expect(tree.levels).toBe(3)
      for (const leaf of leaves) expect(find(tree, leaf)).toEqual(digestOf(String(leaf)))
      if (!leaves.includes(other)) expect(find(tree, other)).toBeUndefined()
    }),
    { numRuns: 30 },
  )
})

test('the same leaves make the same root, in any order, and one other leaf another', () => {
  const entries = Array.from({ length: 1000 }, (_, leaf) => [leaf * 7, digestOf(String(leaf))] as const)
  const { root } = buildTree(entries, 20_000)
  expect(buildTree(entries.toReversed(), 20_000).root).toEqual(root)
  expect(buildTree([...entries.slice(1), [1, digestOf('0')] as const], 20_000).root).not.toEqual(root)
})

test('a page of another place or level is refused', () => {
  const entries = Array.from({ length: 300 }, (_, leaf) => [leaf, digestOf(String(leaf))] as const)
  const tree = buildTree(entries, 300)
  const [first, second] = tree.pages.filter(({ level }) => level === 0)
  const expected = entryOf(tree.pages[0]!.page, 0)!
  verifyPage(0, first!.page, expected)
  expect(() => verifyPage(0, second!.page, expected)).toThrow(MerkleError)
  expect(() => verifyPage(1, first!.page, expected)).toThrow(MerkleError)
  expect(() => verifyPage(0, first!.page.subarray(1), expected)).toThrow(/4096 bytes/)
})

test('a disk of holes has a hole for a root, and sizes decide the depth', () => {
  const tree = buildTree([], 9)
  expect(tree.root).toEqual(new Uint8Array(32))
  expect(tree.pages).toHaveLength(1)
  expect(pageDigest(0, new Uint8Array(pageBytes))).toEqual(new Uint8Array(32))
  expect([0, 1, 128, 129, 16_384, 16_385, 8_388_608].map(levelsOf)).toEqual([1, 1, 1, 2, 2, 3, 4])
})
