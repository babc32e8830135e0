import { CodedError } from '#core/errors/coded-error.ts'

export type MerkleErrorCode =
  /** A page is not the one that its parent, or the root, names: altered, of another tree, or of another place. */
  | 'MERKLE_WRONG_PAGE'
  /** A page has another length, or more leaves than there are. */
  | 'MERKLE_BAD_SHAPE'

/** What is wrong with a Merkle tree. */
export class MerkleError extends CodedError<MerkleErrorCode> {
  protected static override readonly remedies: Readonly<Record<MerkleErrorCode, string>> = {
    MERKLE_WRONG_PAGE: 'The store altered it: use another store, or import the image again.',
    MERKLE_BAD_SHAPE: 'Use another store, or import the image again.',
  }
}
