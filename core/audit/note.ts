import { createPublicKey, hash, type KeyObject, sign, verify } from 'node:crypto'
import { AuditError } from './errors.ts'

/** Room for the 16 signatures that a verifier must accept (C2SP signed-note), post-quantum ones of 5 kB among them. */
export const MAX_NOTE_BYTES: number = 128 * 1024

/** A name and an ed25519 private key that sign notes. */
export interface NoteSigner {
  readonly name: string
  readonly privateKey: KeyObject
}

/** Who is expected to have signed: made of a vkey by `parseVerifierKey`. */
export interface NoteVerifier {
  readonly name: string
  /** SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key)[:4], big-endian. */
  readonly id: number
  readonly publicKey: KeyObject
}

export interface NoteSignature {
  readonly name: string
  readonly id: number
  readonly signature: Uint8Array
}

/** A note that nobody has verified: its text must not be used. */
export interface Note {
  /** Ends in a newline. */
  readonly text: string
  readonly signatures: readonly NoteSignature[]
}

/**
 * `<name>+<key id, 8 hex digits>+<base64(0x01 ‖ public key)>` (golang.org/x/mod/sumdb/note).
 *
 * @param publicKey ed25519, or the private key that it belongs to
 * @throws {AuditError} AUDIT_BAD_KEY
 */
export function encodeVerifierKey(name: string, publicKey: KeyObject): string {
  const raw = rawPublicKey(publicKey)
  const id = hexId(keyId(checkName(name), raw))
  return `${name}+${id}+${Buffer.concat([ED25519, raw]).toString('base64')}`
}

/**
 * @param vkey untrusted, up to 1,024 characters
 * @throws {AuditError} AUDIT_BAD_KEY
 */
export function parseVerifierKey(vkey: string): NoteVerifier {
  const [, name = '', hex, encoded = ''] =
    /^([^+]{1,900})\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})$/.exec(vkey) ?? []
  const key = decodeBase64(encoded)
  if (key?.length !== 33 || key[0] !== ED25519[0])
    throw badKey('expected <name>+<key id>+<base64 of an ed25519 key>')
  const raw = key.subarray(1)
  const id = keyId(checkName(name), raw)
  if (hexId(id) !== hex) throw badKey(`the key id should be ${hexId(id)}, got ${hex}`)
  return { name, id, publicKey: importPublicKey(raw) }
}

/**
 * Signs a text (C2SP signed-note, Ed25519).
 *
 * @param text ends in a newline
 * @throws {AuditError} AUDIT_BAD_NOTE, AUDIT_BAD_KEY
 */
export function signNote(text: string, { name, privateKey }: NoteSigner): string {
  if (!text.endsWith('\n')) throw badNote('the text must end in a newline')
  const id = Buffer.alloc(4)
  id.writeUInt32BE(keyId(checkName(name), rawPublicKey(privateKey)))
  const signature = Buffer.concat([id, sign(null, Buffer.from(text), privateKey)]).toString('base64')
  const note = `${text}\n— ${name} ${signature}\n`
  parseNote(Buffer.from(note))
  return note
}

/**
 * @param bytes untrusted, at most `MAX_NOTE_BYTES`
 * @throws {AuditError} AUDIT_BAD_NOTE
 */
export function parseNote(bytes: Uint8Array): Note {
  const note = decodeText(bytes)
  const end = note.lastIndexOf('\n\n')
  if (end < 0 || !note.endsWith('\n')) throw badNote('expected a text, an empty line and signature lines')
  const lines = note.slice(end + 2, -1).split('\n')
  return { text: note.slice(0, end + 1), signatures: lines.map(parseSignature) }
}

/**
 * The text of a note that this key has signed. Signatures of other keys are ignored; a wrong one of this key is not.
 *
 * @param bytes untrusted, at most `MAX_NOTE_BYTES`
 * @throws {AuditError} AUDIT_BAD_NOTE, AUDIT_BAD_SIGNATURE
 */
export function verifyNote(bytes: Uint8Array, verifier: NoteVerifier): string {
  const { text, signatures } = parseNote(bytes)
  const own = signatures.filter(({ name, id }) => name === verifier.name && id === verifier.id)
  const isSigned = ({ signature }: NoteSignature): boolean =>
    verify(null, Buffer.from(text), verifier.publicKey, signature)
  if (own.length === 0 || !own.every(isSigned)) {
    const problem = own.length === 0 ? 'is not signed' : 'has a wrong signature'
    throw new AuditError(
      'AUDIT_BAD_SIGNATURE',
      `the note ${problem} by ${verifier.name}+${hexId(verifier.id)}`,
    )
  }
  return text
}

/** Base64 of RFC 4648 §4 in its one right spelling, so that no bit of a signed file can change unseen. */
export function decodeBase64(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : undefined
}

/** The signature type of plain Ed25519 (C2SP signed-note, "Signature types"). */
const ED25519 = Uint8Array.of(0x01)

function parseSignature(line: string): NoteSignature {
  const [, name = '', encoded = ''] = /^— ([^ ]+) ([A-Za-z0-9+/]+={0,2})$/.exec(line) ?? []
  const bytes = decodeBase64(encoded)
  if (!isName(name) || bytes === undefined || bytes.length < 5)
    throw badNote('expected — <key name> <signature>')
  return { name, id: Buffer.from(bytes).readUInt32BE(), signature: bytes.subarray(4) }
}

function decodeText(bytes: Uint8Array): string {
  if (bytes.length > MAX_NOTE_BYTES) throw badNote(`${bytes.length} bytes, the most is ${MAX_NOTE_BYTES}`)
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (cause) {
    throw new AuditError('AUDIT_BAD_NOTE', 'signed note: not UTF-8', { cause })
  }
  if (/[^\P{Cc}\n\u007f-\u009f]/u.test(text)) throw badNote('a control character other than newline')
  return text
}

function keyId(name: string, raw: Uint8Array): number {
  return hash('sha256', Buffer.concat([Buffer.from(`${name}\n`), ED25519, raw]), 'buffer').readUInt32BE()
}

function hexId(id: number): string {
  return id.toString(16).padStart(8, '0')
}

function isName(name: string): boolean {
  return /^[^\s\p{Cc}+]+$/u.test(name) && name.isWellFormed()
}

function checkName(name: string): string {
  if (!isName(name)) throw badKey('a key name has neither spaces nor +, and at least one character')
  return name
}

function rawPublicKey(key: KeyObject): Uint8Array {
  if (key.asymmetricKeyType !== 'ed25519')
    throw badKey(`expected ed25519, got ${key.asymmetricKeyType ?? key.type}`)
  const publicKey = key.type === 'private' ? createPublicKey(key) : key
  return Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')
}

function importPublicKey(raw: Uint8Array): KeyObject {
  const x = Buffer.from(raw).toString('base64url')
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
}

function badKey(problem: string): AuditError {
  return new AuditError('AUDIT_BAD_KEY', `note key: ${problem}`)
}

function badNote(problem: string): AuditError {
  return new AuditError('AUDIT_BAD_NOTE', `signed note: ${problem}`)
}
