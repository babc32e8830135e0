import { type KeyObject, sign, verify } from 'node:crypto'
import { z } from 'zod'
import { decodeJsonFile, encodeJsonFile } from './canonical-json.ts'
import { ReleaseError } from './errors.ts'
import { tufTime } from './metadata.ts'
import { labelPattern } from './names.ts'

/**
 * The director's word: "this endpoint, use this release, now". As in Uptane it adds to what the release keys signed and
 * cannot replace it: a site that was taken over can only choose among signed releases, and never an older one (I4).
 *
 * A DSSE envelope with one Ed25519 signature (DSSE 1.0: the signature is over `DSSEv1 <length> <type> <length> <body>`,
 * so that nothing signed for another purpose can pass for a direction).
 */
const payloadType = 'application/vnd.trustcast.direction.v1+json'

/** Largest direction, bytes. */
export const maximumDirectionBytes = 4096

const label = z.string().regex(labelPattern)
const time = z.iso.datetime({ precision: 0 })
const direction = z.strictObject({
  site: z.string().min(1).max(200),
  endpoint: z.string().min(1).max(200),
  /** Chosen by the endpoint for this one question: freshness without a clock. 32 bytes, base64url. */
  nonce: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  name: label,
  version: label,
  counter: z.int().min(1),
  /** SHA-256 of the manifest, hexadecimal. */
  manifestDigest: z.string().regex(/^[0-9a-f]{64}$/),
  channel: label,
  /** UTC, to the second. */
  issuedAt: time,
  expiresAt: time,
})

/** What the director says. */
export type Direction = Readonly<z.infer<typeof direction>>

declare const verified: unique symbol
/** A direction that the site's director made for this endpoint and this question. Only `verifyDirection` makes it. */
export type VerifiedDirection = Direction & { readonly [verified]: true }

/** What the endpoint knows of the question that it asked. */
export interface ExpectedDirection {
  /** The director's, Ed25519: from the endpoint's enrolment. */
  readonly publicKey: KeyObject
  readonly siteId: string
  readonly endpointId: string
  readonly nonce: string
  readonly nowMs: number
}

/**
 * @param privateKey the director's, Ed25519
 * @throws {ReleaseError} RELEASE_MALFORMED for what cannot be said
 */
export function signDirection(
  privateKey: KeyObject,
  said: Omit<Direction, 'issuedAt' | 'expiresAt'> & {
    readonly issuedAtMs: number
    readonly expiresAtMs: number
  },
): Uint8Array {
  const { issuedAtMs, expiresAtMs, ...rest } = said
  const body = direction.safeParse({
    ...rest,
    issuedAt: tufTime(issuedAtMs),
    expiresAt: tufTime(expiresAtMs),
  })
  if (!body.success) throw malformed(z.prettifyError(body.error), body.error)
  const payload = encodeJsonFile(body.data)
  const sig = sign(null, authenticated(payload), privateKey)
  return encodeJsonFile({
    payloadType,
    payload: Buffer.from(payload).toString('base64'),
    signatures: [{ sig: sig.toString('base64') }],
  })
}

/**
 * Verifies a direction: the signature first, then what it says, then whether it answers this endpoint's question.
 *
 * @param bytes untrusted
 * @throws {ReleaseError} RELEASE_MALFORMED; RELEASE_NOT_DIRECTED when it is not signed by this director, or for another
 *   site or endpoint; RELEASE_DIRECTION_STALE for another nonce or when its time is up
 */
export function verifyDirection(bytes: Uint8Array, expected: ExpectedDirection): VerifiedDirection {
  const { payload, signature } = openEnvelope(bytes)
  if (!verify(null, authenticated(payload), expected.publicKey, signature)) {
    throw notDirected("the site's director did not sign it")
  }
  const parsed = direction.safeParse(decodeJsonFile(payload, maximumDirectionBytes))
  if (!parsed.success) throw malformed(z.prettifyError(parsed.error), parsed.error)
  const said = parsed.data
  if (said.site !== expected.siteId) throw notDirected(`it is of the site ${said.site}`)
  if (said.endpoint !== expected.endpointId) throw notDirected(`it is for the endpoint ${said.endpoint}`)
  if (said.nonce !== expected.nonce) throw stale('it answers another question')
  if (Date.parse(said.expiresAt) <= expected.nowMs) throw stale(`it was good until ${said.expiresAt}`)
  return said as VerifiedDirection
}

const envelope = z.strictObject({
  payloadType: z.literal(payloadType),
  payload: z.base64().min(1),
  signatures: z.array(z.strictObject({ sig: z.base64() })).length(1),
})

function openEnvelope(bytes: Uint8Array): { payload: Uint8Array; signature: Uint8Array } {
  const parsed = envelope.safeParse(decodeJsonFile(bytes, maximumDirectionBytes))
  if (!parsed.success) throw malformed(z.prettifyError(parsed.error), parsed.error)
  const signature = parsed.data.signatures[0]?.sig ?? ''
  return { payload: decodeBase64(parsed.data.payload), signature: decodeBase64(signature) }
}

/** One spelling of each, so that nothing changes unseen. */
function decodeBase64(text: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64')
  if (bytes.toString('base64') !== text) throw malformed('expected base64 whose unused bits are zero')
  return bytes
}

/** DSSE's pre-authentication encoding. */
function authenticated(payload: Uint8Array): Uint8Array {
  return Buffer.concat([
    Buffer.from(`DSSEv1 ${payloadType.length} ${payloadType} ${payload.length} `),
    payload,
  ])
}

function malformed(problem: string, cause?: unknown): ReleaseError {
  return new ReleaseError('RELEASE_MALFORMED', `direction: ${problem}`, { cause })
}

function notDirected(problem: string): ReleaseError {
  return new ReleaseError('RELEASE_NOT_DIRECTED', `this direction is not for us: ${problem}`, {
    remedy: 'Nothing was used. Tell whoever runs the site.',
  })
}

function stale(problem: string): ReleaseError {
  return new ReleaseError('RELEASE_DIRECTION_STALE', `this direction is too old: ${problem}`, {
    remedy: 'Ask the site again; check the clock of this computer.',
  })
}
