import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { growTree } from './append-tree.ts'
import { AuditError } from './errors.ts'
import {
  decodeFrontier,
  EMPTY_FRONTIER,
  encodeFrontier,
  type Frontier,
  frontierRoot,
  type Hash,
  leafHash,
  nodeHash,
  treeHash,
} from './merkle.ts'
import { type HashReader, proveInclusion, verifyInclusion } from './proof.ts'

// The vectors of the Certificate Transparency reference implementation (merkle_tree_test.cc).
const LEAVES = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
]
const ROOTS = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
]
const INCLUSION: [index: number, size: number, proof: string[]][] = [
  [0, 1, []],
  [
    0,
    8,
    [
      '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7',
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4',
    ],
  ],
  [
    5,
    8,
    [
      'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
      'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
      'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    ],
  ],
  [2, 3, ['fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125']],
  [
    1,
    5,
    [
      '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
    ],
  ],
]

const unhex = (text: string): Uint8Array => Buffer.from(text, 'hex')
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const vectorLeaves = LEAVES.map((leaf) => leafHash(unhex(leaf)))

/** MTH of RFC 6962 §2.1, word by word. */
function naiveRoot(leaves: readonly Hash[]): Hash {
  if (leaves.length < 2) return leaves[0] ?? unhex(ROOTS[0]!)
  let k = 1
  while (k * 2 < leaves.length) k *= 2
  return nodeHash(naiveRoot(leaves.slice(0, k)), naiveRoot(leaves.slice(k)))
}

function readerOf(leaves: readonly Hash[]): HashReader {
  return async (subtrees) =>
    subtrees.map(({ height, index }) => {
      const span = 2 ** height
      const part = leaves.slice(Number(index) * span, (Number(index) + 1) * span)
      expect(part).toHaveLength(span)
      return naiveRoot(part)
    })
}

function someLeaves(count: number): Hash[] {
  return Array.from({ length: count }, (_, i) => leafHash(Buffer.from(`entry ${i}`)))
}

test('the roots of the first eight trees are those of Certificate Transparency', () => {
  for (const [size, root] of ROOTS.entries()) {
    expect(hex(growTree(EMPTY_FRONTIER, LEAVES.slice(0, size).map(unhex)).root)).toBe(root)
    expect(hex(treeHash(vectorLeaves.slice(0, size)))).toBe(root)
  }
})

test('the proofs are those of Certificate Transparency', async () => {
  for (const [index, size, expected] of INCLUSION) {
    const proof = await proveInclusion(BigInt(index), BigInt(size), readerOf(vectorLeaves.slice(0, size)))
    expect(proof.map(hex)).toEqual(expected)
    const claim = {
      index: BigInt(index),
      size: BigInt(size),
      leaf: vectorLeaves[index]!,
      root: unhex(ROOTS[size]!),
    }
    expect(verifyInclusion(claim, expected.map(unhex))).toBe(true)
  }
})

test('appending in any batches gives the root that the definition gives', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(fc.uint8Array({ maxLength: 8 }), { maxLength: 40 }), { maxLength: 10 }),
      (batches) => {
        let frontier: Frontier = EMPTY_FRONTIER
        for (const batch of batches) {
          const grown = growTree(frontier, batch)
          expect(grown.firstIndex).toBe(frontier.size)
          expect(grown.leafHashes).toHaveLength(batch.length)
          frontier = decodeFrontier(grown.size, encodeFrontier(grown.frontier))
        }
        const leaves = batches.flat().map(leafHash)
        expect(frontier.size).toBe(BigInt(leaves.length))
        expect(hex(frontierRoot(frontier))).toBe(hex(naiveRoot(leaves)))
        expect(hex(treeHash(leaves))).toBe(hex(naiveRoot(leaves)))
      },
    ),
  )
})

test('a frontier of the wrong length is refused', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -2n, max: 1n << 64n }), fc.uint8Array({ maxLength: 200 }), (size, bytes) => {
      try {
        expect(encodeFrontier(decodeFrontier(size, bytes))).toEqual(Buffer.from(bytes))
      } catch (error) {
        expect(error).toBeInstanceOf(AuditError)
      }
    }),
  )
})

test('an inclusion proof verifies, and altered nowhere', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 300 }), fc.nat(), fc.nat(), async (size, at, flip) => {
      const leaves = someLeaves(size)
      const index = at % size
      const claim = {
        index: BigInt(index),
        size: BigInt(size),
        leaf: leaves[index]!,
        root: naiveRoot(leaves),
      }
      const proof = await proveInclusion(claim.index, claim.size, readerOf(leaves))
      expect(verifyInclusion(claim, proof)).toBe(true)
      expect(verifyInclusion({ ...claim, leaf: altered(claim.leaf, flip) }, proof)).toBe(false)
      expect(verifyInclusion({ ...claim, root: altered(claim.root, flip) }, proof)).toBe(false)
      expect(verifyInclusion({ ...claim, index: claim.index + 1n }, proof)).toBe(false)
      expect(verifyInclusion({ ...claim, index: -1n }, proof)).toBe(false)
      for (const wrong of alteredProofs(proof, flip)) expect(verifyInclusion(claim, wrong)).toBe(false)
    }),
  )
})

test('what is in no tree cannot be proven', async () => {
  await expect(proveInclusion(3n, 3n, readerOf([]))).rejects.toMatchObject({ code: 'AUDIT_BAD_RANGE' })
})

function altered(bytes: Uint8Array, at: number): Uint8Array {
  const copy = Uint8Array.from(bytes)
  copy[at % copy.length]! ^= 1 << (at % 8)
  return copy
}

function alteredProofs(proof: readonly Hash[], at: number): Hash[][] {
  const longer = [...proof, leafHash(Buffer.from('more'))]
  if (proof.length === 0) return [longer]
  const i = at % proof.length
  return [longer, proof.slice(0, -1), proof.with(i, altered(proof[i]!, at))]
}
