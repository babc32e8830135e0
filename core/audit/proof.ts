import { AuditError } from './errors.ts'
import { EMPTY_ROOT, equalHashes, type Hash, nodeHash } from './merkle.ts'

/** The perfect subtree over the entries [index · 2^height, (index + 1) · 2^height). */
export interface Subtree {
  readonly height: number
  readonly index: bigint
}

/** Gives the roots of perfect subtrees, in the order asked. Called once for each proof. */
export type HashReader = (subtrees: readonly Subtree[]) => Promise<readonly Hash[]>

export type Proof = readonly Hash[]

/**
 * Proves that an entry is in a tree: PATH(index, D[size]) of RFC 6962 §2.1.1.
 *
 * @throws {AuditError} AUDIT_BAD_RANGE unless 0 ≤ index < size
 */
export async function proveInclusion(index: bigint, size: bigint, read: HashReader): Promise<Proof> {
  if (index < 0n || index >= size) throw badRange(`no entry ${index} in a tree of ${size}`)
  return readRanges(inclusionRanges(index, 0n, size), read)
}

/**
 * Proves that a tree is a prefix of another: PROOF(first, D[second]) of RFC 6962 §2.1.2.
 *
 * @throws {AuditError} AUDIT_BAD_RANGE unless 0 ≤ first ≤ second
 */
export async function proveConsistency(first: bigint, second: bigint, read: HashReader): Promise<Proof> {
  if (first < 0n || first > second) throw badRange(`a tree of ${second} has no prefix of ${first}`)
  return first === 0n ? [] : readRanges(consistencyRanges(first, 0n, second, true), read)
}

/** What an inclusion proof claims. */
export interface Inclusion {
  readonly index: bigint
  readonly size: bigint
  readonly leaf: Hash
  readonly root: Hash
}

/** Checks an inclusion proof (RFC 9162 §2.1.3.2). */
export function verifyInclusion({ index, size, leaf, root }: Inclusion, proof: Proof): boolean {
  if (index < 0n || index >= size) return false
  let node = index
  let last = size - 1n
  let hash = leaf
  for (const sibling of proof) {
    if (last === 0n) return false
    if (isOdd(node) || node === last) {
      hash = nodeHash(sibling, hash)
      const skipped = trailingZeros(node)
      node >>= skipped
      last >>= skipped
    } else {
      hash = nodeHash(hash, sibling)
    }
    node >>= 1n
    last >>= 1n
  }
  return last === 0n && equalHashes(hash, root)
}

/** A tree's head: as many entries, this root. */
export interface TreeHead {
  readonly size: bigint
  readonly root: Hash
}

/** Checks a consistency proof (RFC 9162 §2.1.4.2). */
export function verifyConsistency(first: TreeHead, second: TreeHead, proof: Proof): boolean {
  if (first.size < 0n || first.size > second.size) return false
  if (first.size === second.size) return proof.length === 0 && equalHashes(first.root, second.root)
  if (first.size === 0n) return proof.length === 0 && equalHashes(first.root, EMPTY_ROOT)

  const isPerfect = (first.size & (first.size - 1n)) === 0n
  const [start, ...path] = isPerfect ? [first.root, ...proof] : proof
  if (start === undefined) return false
  const shift = trailingZeros(first.size)
  let node = (first.size - 1n) >> shift
  let last = (second.size - 1n) >> shift
  let firstHash = start
  let secondHash = start
  for (const sibling of path) {
    if (last === 0n) return false
    if (isOdd(node) || node === last) {
      firstHash = nodeHash(sibling, firstHash)
      secondHash = nodeHash(sibling, secondHash)
      const skipped = trailingZeros(node)
      node >>= skipped
      last >>= skipped
    } else {
      secondHash = nodeHash(secondHash, sibling)
    }
    node >>= 1n
    last >>= 1n
  }
  return last === 0n && equalHashes(firstHash, first.root) && equalHashes(secondHash, second.root)
}

type Range = readonly [start: bigint, end: bigint]

function inclusionRanges(index: bigint, start: bigint, end: bigint): Range[] {
  if (end - start === 1n) return []
  const middle = split(start, end)
  return index < middle
    ? [...inclusionRanges(index, start, middle), [middle, end]]
    : [...inclusionRanges(index, middle, end), [start, middle]]
}

/** SUBPROOF of RFC 6962 §2.1.2; `isKnown` while the verifier holds the root of [start, first) already. */
function consistencyRanges(first: bigint, start: bigint, end: bigint, isKnown: boolean): Range[] {
  if (first === end) return isKnown ? [] : [[start, end]]
  const middle = split(start, end)
  return first <= middle
    ? [...consistencyRanges(first, start, middle, isKnown), [middle, end]]
    : [...consistencyRanges(first, middle, end, false), [start, middle]]
}

async function readRanges(ranges: readonly Range[], read: HashReader): Promise<Proof> {
  const parts = ranges.map(perfectSubtrees)
  const hashes = (await read(parts.flat())).values()
  return parts.map((part) =>
    [...hashes.take(part.length)].reduceRight((right, left) => nodeHash(left, right)),
  )
}

/** The perfect subtrees of a range that starts at a multiple of their largest, left to right. */
function perfectSubtrees([start, end]: Range): Subtree[] {
  const subtrees: Subtree[] = []
  for (let at = start; at < end; ) {
    const height = (end - at).toString(2).length - 1
    subtrees.push({ height, index: at >> BigInt(height) })
    at += 1n << BigInt(height)
  }
  return subtrees
}

/** Where RFC 6962 §2.1 splits: after the largest power of two smaller than the length. */
function split(start: bigint, end: bigint): bigint {
  return start + (1n << BigInt((end - start - 1n).toString(2).length - 1))
}

function isOdd(n: bigint): boolean {
  return (n & 1n) === 1n
}

/** 0 for 0: nothing is left to skip at the left edge of a tree. */
function trailingZeros(n: bigint): bigint {
  return n === 0n ? 0n : BigInt((n & -n).toString(2).length - 1)
}

function badRange(message: string): AuditError {
  return new AuditError('AUDIT_BAD_RANGE', message)
}
