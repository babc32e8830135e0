import { AuditError } from './errors.ts'
import { HASH_BYTES, type Hash } from './merkle.ts'
import { decodeBase64, type NoteSigner, type NoteVerifier, signNote, verifyNote } from './note.ts'

/** The head of a log: who it is, how many entries it has and what its tree's root is (C2SP tlog-checkpoint). */
export interface Checkpoint {
  /** The log's name, also that of its key. */
  readonly origin: string
  readonly size: bigint
  readonly root: Hash
}

/** The note text: three lines, origin, size and root. */
export function formatCheckpoint({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${Buffer.from(root).toString('base64')}\n`
}

/**
 * @param text the text of a verified note; extension lines after the third are allowed and left out
 * @throws {AuditError} AUDIT_BAD_CHECKPOINT
 */
export function parseCheckpoint(text: string): Checkpoint {
  const [origin = '', size = '', encoded = '', ...rest] = text.split('\n')
  const root = decodeBase64(encoded)
  if (origin === '' || rest.pop() !== '' || rest.includes(''))
    throw badCheckpoint('three lines or more, none empty')
  if (!/^(?:0|[1-9]\d{0,18})$/.test(size) || BigInt(size) > MAX_SIZE) throw badCheckpoint('a size below 2^63')
  if (root?.length !== HASH_BYTES) throw badCheckpoint('a root of 32 bytes in base64')
  return { origin, size: BigInt(size), root }
}

/** Signs a head under the log's own name. The signer must never sign two heads of which one is no prefix of the other. */
export function signCheckpoint(head: Omit<Checkpoint, 'origin'>, signer: NoteSigner): string {
  return signNote(formatCheckpoint({ ...head, origin: signer.name }), signer)
}

/**
 * Reads a checkpoint that the log of this key has signed.
 *
 * @param note untrusted
 * @throws {AuditError} AUDIT_BAD_NOTE, AUDIT_BAD_SIGNATURE, AUDIT_BAD_CHECKPOINT
 */
export function openCheckpoint(note: Uint8Array, verifier: NoteVerifier): Checkpoint {
  const checkpoint = parseCheckpoint(verifyNote(note, verifier))
  if (checkpoint.origin !== verifier.name) throw badCheckpoint(`the origin ${verifier.name}`)
  return checkpoint
}

const MAX_SIZE = (1n << 63n) - 1n

function badCheckpoint(expected: string): AuditError {
  return new AuditError('AUDIT_BAD_CHECKPOINT', `checkpoint: expected ${expected}`)
}
