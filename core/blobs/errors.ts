import { CodedError } from '#core/errors/coded-error.ts'

export type BlobErrorCode =
  /** The store answered that it has no such blob. */
  | 'BLOB_MISSING'
  /** The store could not be reached, timed out, or answered that it is in trouble: trying again may help. */
  | 'BLOB_UNAVAILABLE'
  /** The store answered something else than was asked for: a wrong length, a wrong range, other bytes. */
  | 'BLOB_WRONG_ANSWER'
  /** The store wants other credentials, or allows this to nobody. */
  | 'BLOB_DENIED'
  /** The store is full. */
  | 'BLOB_NO_SPACE'
  /** A name, version or digest that is none. */
  | 'BLOB_BAD_REFERENCE'
  /** The address names no store, or one that cannot do what was asked (such as writing to plain HTTP). */
  | 'BLOB_BAD_STORE'

/** What is wrong with a store of blobs, or with what it answered. */
export class BlobError extends CodedError<BlobErrorCode> {
  protected static override readonly remedies: Readonly<Record<BlobErrorCode, string>> = {
    BLOB_MISSING: 'Copy the image there again, or name another store.',
    BLOB_UNAVAILABLE: 'Try again later, or name another store.',
    BLOB_WRONG_ANSWER:
      'Name another store, or copy the image there again: this one is damaged, or altered what it has.',
    BLOB_DENIED: 'Give credentials or a client certificate that this store accepts.',
    BLOB_NO_SPACE: 'Make room in the store.',
    BLOB_BAD_REFERENCE: 'Copy it whole from where it was shown.',
    BLOB_BAD_STORE: 'Name another store.',
  }
}
