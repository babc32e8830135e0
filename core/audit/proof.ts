import { AuditError } from './errors.ts'
import { equalHashes, type Hash, nodeHash } from './merkle.ts'

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

type Range = readonly [start: bigint, end: bigint]

function inclusionRanges(index: bigint, start: bigint, end: bigint): Range[] {
  if (end - start === 1n) return []
  const middle = split(start, end)
  return index < middle
    ? [...inclusionRanges(index, start, middle), [middle, end]]
    : [...inclusionRanges(index, middle, end), [start, middle]]
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
