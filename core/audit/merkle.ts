import { hash } from 'node:crypto'
import { AuditError } from './errors.ts'

/** A SHA-256 Merkle tree hash, 32 bytes. */
export type Hash = Uint8Array

export const HASH_BYTES = 32

/** The root of a tree without entries: SHA-256 of nothing (RFC 6962 §2.1). */
export const EMPTY_ROOT: Hash = sha256(new Uint8Array())

/** Hash of one entry: SHA-256(0x00 ‖ entry), RFC 6962 §2.1. */
export function leafHash(entry: Uint8Array): Hash {
  const input = Buffer.allocUnsafe(1 + entry.length)
  input[0] = 0
  input.set(entry, 1)
  return sha256(input)
}

/** Hash of two subtrees: SHA-256(0x01 ‖ left ‖ right), RFC 6962 §2.1. */
export function nodeHash(left: Hash, right: Hash): Hash {
  const input = Buffer.allocUnsafe(1 + 2 * HASH_BYTES)
  input[0] = 1
  input.set(left, 1)
  input.set(right, 1 + HASH_BYTES)
  return sha256(input)
}

/**
 * The Merkle tree hash over hashes of subtrees of one height (RFC 6962 §2.1, MTH).
 *
 * Pairing neighbours and carrying an odd last one up gives the RFC's split at the largest power of two, and still
 * does when the last hash is of a smaller subtree.
 */
export function treeHash(hashes: readonly Hash[]): Hash {
  let row = hashes
  while (row.length > 1) {
    const next: Hash[] = []
    for (let i = 0; i < row.length; i += 2) {
      const [left, right] = row.slice(i, i + 2)
      if (left !== undefined) next.push(right === undefined ? left : nodeHash(left, right))
    }
    row = next
  }
  return row[0] ?? EMPTY_ROOT
}

/**
 * All that must be kept of a tree to append to it: its size and the roots of its perfect subtrees, largest (leftmost)
 * first. There is one root for every bit that is set in the size.
 */
export interface Frontier {
  readonly size: bigint
  readonly roots: readonly Hash[]
}

export const EMPTY_FRONTIER: Frontier = { size: 0n, roots: [] }

/** Appends leaf hashes; about two hash operations for each. */
export function appendLeaves(frontier: Frontier, leaves: readonly Hash[]): Frontier {
  const roots = [...frontier.roots]
  let { size } = frontier
  for (const leaf of leaves) {
    let root = leaf
    for (let bits = size; (bits & 1n) === 1n; bits >>= 1n) {
      const left = roots.pop()
      if (left === undefined) throw badFrontier(frontier.size, frontier.roots.length)
      root = nodeHash(left, root)
    }
    roots.push(root)
    size++
  }
  return { size, roots }
}

/** The root of the whole tree. */
export function frontierRoot({ roots }: Frontier): Hash {
  return roots.length === 0 ? EMPTY_ROOT : roots.reduceRight((right, left) => nodeHash(left, right))
}

/** The roots one after another, as a store keeps them beside the size. */
export function encodeFrontier({ roots }: Frontier): Uint8Array {
  return Buffer.concat(roots)
}

/**
 * @param bytes what `encodeFrontier` gave for a tree of this size
 * @throws {AuditError} AUDIT_BAD_FRONTIER
 */
export function decodeFrontier(size: bigint, bytes: Uint8Array): Frontier {
  const expected = size < 0n ? -1 : size.toString(2).replaceAll('0', '').length
  if (bytes.length !== expected * HASH_BYTES) throw badFrontier(size, bytes.length / HASH_BYTES)
  return { size, roots: splitHashes(bytes) }
}

/** Cuts concatenated hashes apart, without copying. */
export function splitHashes(bytes: Uint8Array): Hash[] {
  return Array.from({ length: bytes.length / HASH_BYTES }, (_, i) =>
    bytes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES),
  )
}

export function equalHashes(a: Hash, b: Hash): boolean {
  return Buffer.compare(a, b) === 0
}

function sha256(bytes: Uint8Array): Hash {
  return hash('sha256', bytes, 'buffer')
}

function badFrontier(size: bigint, roots: number): AuditError {
  return new AuditError(
    'AUDIT_BAD_FRONTIER',
    `a tree of ${size} entries does not have ${roots} subtree roots`,
  )
}
