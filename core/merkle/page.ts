import { createHash } from 'node:crypto'
import { MerkleError } from './errors.ts'

/**
 * A Merkle tree whose nodes are pages of 4 KiB: 128 SHA-256 digests, in order.
 *
 *     level 2                 [ page 0 ]                    its digest is the root
 *     level 1      [ page 0 ]  [ page 1 ]  …
 *     level 0   [ 0 ] [ 1 ] …                               digests of leaves: chunk 0 to 127, 128 to 255, …
 *
 * An entry of 32 zero bytes is a hole: below it nothing is stored. The digest of a page is SHA-256 over one byte,
 * 0x80 + its level, and the page. Stored chunks begin with a byte below 0x80, so that no chunk can pass for a page
 * and no page for one of another level.
 */

export const pageBytes = 4096
export const digestBytes = 32
/** Digests in a page. */
export const fanOut = 128
/** Enough for 128^6 leaves. */
export const maximumLevels = 6

const pagePrefix = 0x80
const zeros = new Uint8Array(pageBytes)
const hole = zeros.subarray(0, digestBytes)

/** Digest of a page. A page of holes only is a hole itself. */
export function pageDigest(level: number, page: Uint8Array): Uint8Array {
  if (isHole(page)) return hole
  return createHash('sha256')
    .update(Uint8Array.of(pagePrefix + level))
    .update(page)
    .digest()
}

/**
 * Says that a page is the one that was named.
 *
 * @param expected what the parent's entry, or the signed root, says
 * @throws {MerkleError} MERKLE_WRONG_PAGE, MERKLE_BAD_SHAPE
 */
export function verifyPage(level: number, page: Uint8Array, expected: Uint8Array): void {
  if (page.length !== pageBytes) {
    throw new MerkleError('MERKLE_BAD_SHAPE', `expected a page of ${pageBytes} bytes, got ${page.length}`)
  }
  if (Buffer.compare(pageDigest(level, page), expected) !== 0) {
    throw new MerkleError('MERKLE_WRONG_PAGE', `a page of level ${level} is not the one that was signed`)
  }
}

/** The entry at `slot`: a view of the page, or undefined for a hole. */
export function entryOf(page: Uint8Array, slot: number): Uint8Array | undefined {
  const entry = page.subarray(slot * digestBytes, (slot + 1) * digestBytes)
  return isHole(entry) ? undefined : entry
}

/** How many levels of pages a tree over so many leaves has: at least one. */
export function levelsOf(leaves: number): number {
  let levels = 1
  for (let reach = fanOut; reach < leaves; reach *= fanOut) levels += 1
  return levels
}

export function isHole(bytes: Uint8Array): boolean {
  return Buffer.compare(bytes, zeros.subarray(0, bytes.length)) === 0
}
