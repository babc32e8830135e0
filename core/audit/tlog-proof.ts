import { type Checkpoint, openCheckpoint } from './checkpoint.ts'
import { AuditError } from './errors.ts'
import { HASH_BYTES, leafHash } from './merkle.ts'
import { decodeBase64, MAX_NOTE_BYTES, type NoteVerifier } from './note.ts'
import { type Proof, verifyInclusion } from './proof.ts'
import { MAX_ENTRY_BYTES } from './tiles.ts'

/** That one entry is in a log: what a person can hand on and check without the log. */
export interface EntryProof {
  readonly index: bigint
  /** The entry's bytes. */
  readonly entry: Uint8Array
  /** From the leaf's sibling up to the child of the root. */
  readonly proof: Proof
  /** The signed note over the tree, as the log wrote it. */
  readonly checkpoint: string
}

/** An entry that a log has signed for. */
export interface ProvenEntry {
  readonly index: bigint
  readonly entry: Uint8Array
  readonly checkpoint: Checkpoint
}

/** No tree of 64 bits is higher. */
const maxHashes = 63
/** The largest that `formatTlogProof` can write. */
export const MAX_PROOF_BYTES: number =
  Math.ceil(MAX_ENTRY_BYTES / 3) * 4 + (maxHashes + 4) * 64 + MAX_NOTE_BYTES

const title = 'c2sp.org/tlog-proof@v1'

/**
 * The text of a `.tlog-proof` file (C2SP tlog-proof, "Format"):
 *
 *     c2sp.org/tlog-proof@v1
 *     extra <the entry's bytes, base64>
 *     index <decimal>
 *     <hash, base64>            one for each level
 *
 *     <the checkpoint, a signed note>
 *
 * The entry travels as extra data, so that the file says by itself what it proves.
 */
export function formatTlogProof({ index, entry, proof, checkpoint }: EntryProof): string {
  const hashes = proof.map((hash) => `${base64(hash)}\n`).join('')
  return `${title}\nextra ${base64(entry)}\nindex ${index}\n${hashes}\n${checkpoint}`
}

/**
 * @param bytes untrusted
 * @throws {AuditError} AUDIT_BAD_PROOF for what is no such file
 */
export function parseTlogProof(bytes: Uint8Array): EntryProof {
  if (bytes.length > MAX_PROOF_BYTES) throw badProof(`${bytes.length} bytes, the most is ${MAX_PROOF_BYTES}`)
  const text = decodeText(bytes)
  const end = text.indexOf('\n\n')
  if (end < 0) throw badProof('expected an empty line before the checkpoint')
  const [first, extra = '', at = '', ...lines] = text.slice(0, end).split('\n')
  if (first !== title) throw badProof(`the first line must be ${title}`)
  const entry = extra.startsWith('extra ') ? decodeBase64(extra.slice('extra '.length)) : undefined
  if (entry === undefined) throw badProof('the second line must hold the entry: extra <base64>')
  const index = /^index (0|[1-9]\d{0,18})$/.exec(at)?.[1]
  if (index === undefined) throw badProof('the third line must be: index <decimal>')
  if (lines.length > maxHashes) throw badProof(`${lines.length} hashes, the most is ${maxHashes}`)
  return { index: BigInt(index), entry, proof: lines.map(parseHash), checkpoint: text.slice(end + 2) }
}

/**
 * Checks that a log has this entry at this index, from the file and the log's key alone (C2SP tlog-proof, "Verifying a tlog proof").
 *
 * @param bytes untrusted
 * @throws {AuditError} AUDIT_BAD_PROOF, AUDIT_NOT_INCLUDED; AUDIT_BAD_NOTE, AUDIT_BAD_SIGNATURE and AUDIT_BAD_CHECKPOINT for its checkpoint
 */
export function openTlogProof(bytes: Uint8Array, verifier: NoteVerifier): ProvenEntry {
  const { index, entry, proof, checkpoint: note } = parseTlogProof(bytes)
  const checkpoint = openCheckpoint(Buffer.from(note), verifier)
  const { size, root } = checkpoint
  if (!verifyInclusion({ index, size, leaf: leafHash(entry), root }, proof)) {
    throw new AuditError(
      'AUDIT_NOT_INCLUDED',
      `this is not entry ${index} of the ${size} entries that ${checkpoint.origin} has signed`,
      { remedy: 'The entry, its index or the proof was changed: ask the site for the proof again.' },
    )
  }
  return { index, entry, checkpoint }
}

function parseHash(line: string): Uint8Array {
  const hash = decodeBase64(line)
  if (hash?.length !== HASH_BYTES) throw badProof('a line of the proof is not 32 bytes in base64')
  return hash
}

function decodeText(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw new AuditError('AUDIT_BAD_PROOF', 'proof: not UTF-8', { cause })
  }
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}

function badProof(problem: string): AuditError {
  return new AuditError('AUDIT_BAD_PROOF', `proof: ${problem}`)
}
