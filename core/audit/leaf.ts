import { AuditError } from './errors.ts'
import { MAX_ENTRY_BYTES } from './tiles.ts'

/** What the audit log tells of. */
export const AUDIT_KINDS = [
  /** A person has proved who they are. */
  'sign-in',
  /** Somebody could not prove to be the person they named. */
  'sign-in-refused',
  /** A person's web session was ended. */
  'sign-out',
  /** The policy allowed or denied a launch, or decided a running one again; with policy digest and claims. */
  'decision',
  /** The right to open one delivery was handed out. */
  'ticket-issued',
  /** A ticket was used, once and for all. */
  'ticket-redeemed',
  /** A browser got a code by which an endpoint can open a workspace for its person. */
  'handoff-issued',
  /** An endpoint brought such a code, which is spent now. */
  'handoff-redeemed',
  /** An endpoint brought a code that was not for it, spent or too old. */
  'handoff-refused',
  /** A session runs on a host. */
  'session-started',
  /** The rights or obligations of a running session became others. */
  'session-changed',
  /** A session and all its processes are gone. */
  'session-ended',
  /** The key of an image goes out to an endpoint, sealed, under a lease; with until when at the latest. */
  'key-released',
  /** An endpoint lost the right to hold what a lease gave it. */
  'lease-withdrawn',
  /** An endpoint has said that it holds nothing under a lease any more, or must have stopped by its own clock. */
  'lease-ended',
  /** What is written on an endpoint under a lease is copied to the data centre from now on. */
  'replica-kept',
  /** An endpoint reads such a copy, sealed, under a lease. */
  'replica-read',
  /** Such a copy was removed from the data centre. */
  'replica-removed',
  /** What somebody wrote on a machine is to be discarded there, because an admin deleted them or the workspace so. */
  'discard-asked',
  /** A machine has said that nothing of it is left there. */
  'discarded',
  /** What is known of an endpoint became something else; with the claims. */
  'trust-changed',
  /** Evidence of an endpoint was not taken; with the code. */
  'evidence-refused',
  /** Another system of the organisation has said something of an endpoint. */
  'statement-made',
  /** Admins have to look at something: many endpoints fell at once, or evidence is not taken as it should be. */
  'alarm-raised',
  'alarm-ended',
  /** An image is known to the site; with the digest of its manifest. */
  'image-registered',
  /** New metadata of a release role awaits its signatures, or does so no more. */
  'release-proposed',
  /** The site took a signature on proposed metadata. */
  'release-signed',
  /** Release metadata that the threshold has signed can be read by endpoints; also when the site renews what says that it is current. */
  'release-published',
  /** A channel of an image points at another release, or a wave goes on. */
  'channel-changed',
  /** An admin changed the site: a workspace, a person, a group, a host, a setting. */
  'admin-change',
  /** Another set of policies decides from now on; with its digest. */
  'policy-activated',
  /** A single-use right to enrol a machine was handed out. */
  'enrolment-token',
  /** A machine without a token asks to be enrolled. */
  'enrolment-requested',
  /** A machine got its identity from the site's certificate authority. */
  'enrolled',
  /** An endpoint's TPM attested another boot than the one that is expected of it; with what differs. */
  'boot-changed',
  /** A machine's identity or a person's access was withdrawn. */
  'revoked',
] as const

export type AuditKind = (typeof AUDIT_KINDS)[number]

export const ACTOR_TYPES = ['person', 'host', 'gateway', 'endpoint', 'site', 'admin', 'system'] as const

/** Who did it. */
export interface AuditActor {
  readonly type: (typeof ACTOR_TYPES)[number]
  readonly id: string
}

/** JSON whose numbers are all safe integers, at most 32 levels deep. */
export type AuditData =
  | null
  | boolean
  | number
  | string
  | readonly AuditData[]
  | { readonly [name: string]: AuditData }

/** One thing that happened. */
export interface AuditEntry {
  /** Time in UTC with milliseconds, as `Date.toISOString` writes it. */
  readonly at: string
  readonly kind: AuditKind
  readonly actor: AuditActor
  /** Whom or what it was done to, if that is not the actor. */
  readonly subject?: string
  /** What there is to know beyond that. No secrets: the log is handed to auditors. */
  readonly data: AuditData
}

/**
 * The bytes that are hashed into the log: canonical JSON (RFC 8785, numbers being safe integers).
 *
 * @throws {AuditError} AUDIT_BAD_ENTRY for what JSON cannot hold exactly, or above 65,535 bytes
 */
export function encodeEntry(entry: AuditEntry): Uint8Array {
  const bytes = Buffer.from(canonicalJson(checkEntry(entry), 0))
  if (bytes.length > MAX_ENTRY_BYTES) throw badEntry(`${bytes.length} bytes, the most is ${MAX_ENTRY_BYTES}`)
  return bytes
}

/**
 * @param bytes untrusted; only what `encodeEntry` writes is accepted
 * @throws {AuditError} AUDIT_BAD_ENTRY
 */
export function decodeEntry(bytes: Uint8Array): AuditEntry {
  if (bytes.length > MAX_ENTRY_BYTES) throw badEntry(`${bytes.length} bytes, the most is ${MAX_ENTRY_BYTES}`)
  const entry = checkEntry(parseJson(bytes))
  if (Buffer.compare(encodeEntry(entry), bytes) !== 0) throw badEntry('not in canonical form')
  return entry
}

const MAX_DEPTH = 32

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  } catch (cause) {
    throw new AuditError('AUDIT_BAD_ENTRY', 'audit entry: not JSON in UTF-8', { cause })
  }
}

/** Checks everything but `data`, whose values `canonicalJson` checks. */
function checkEntry(value: unknown): AuditEntry {
  const entry = checkFields(value, ['at', 'kind', 'actor', 'data'], ['subject'])
  const actor = checkFields(entry['actor'], ['type', 'id'])
  if (!isTime(entry['at'])) throw badEntry('`at` is not a time in UTC with milliseconds')
  if (!isOneOf(AUDIT_KINDS, entry['kind'])) throw badEntry('`kind` is not a known one')
  if (!isOneOf(ACTOR_TYPES, actor['type'])) throw badEntry('`actor.type` is not a known one')
  if (!isFilled(actor['id'])) throw badEntry('`actor.id` is empty')
  if ('subject' in entry && !isFilled(entry['subject'])) throw badEntry('`subject` is empty')
  return entry as unknown as AuditEntry
}

function checkFields(
  value: unknown,
  required: readonly string[],
  optional: readonly string[] = [],
): Record<string, unknown> {
  if (!isRecord(value)) throw badEntry('expected an object')
  const names = Object.keys(value)
  const isKnown = (name: string): boolean => required.includes(name) || optional.includes(name)
  if (!required.every((name) => names.includes(name)) || !names.every(isKnown)) {
    throw badEntry(`expected the fields ${required.join(', ')}`)
  }
  return value
}

function canonicalJson(value: unknown, depth: number): string {
  if (depth > MAX_DEPTH) throw badEntry(`deeper than ${MAX_DEPTH} levels`)
  if (value === null || typeof value === 'boolean' || isExactNumber(value)) return JSON.stringify(value)
  if (typeof value === 'string') return canonicalString(value)
  if (Array.isArray(value))
    return `[${Array.from(value, (item) => canonicalJson(item, depth + 1)).join(',')}]`
  if (!isRecord(value)) throw badEntry('only JSON with safe integers can be kept')
  // RFC 8785 §3.2.3: by UTF-16 code units, which is how `sort` compares.
  const fields = Object.keys(value).toSorted()
  return `{${fields.map((name) => `${canonicalString(name)}:${canonicalJson(value[name], depth + 1)}`).join(',')}}`
}

/** `JSON.stringify` escapes as RFC 8785 §3.2.2.2 says, except that lone surrogates must be refused. */
function canonicalString(text: string): string {
  if (!text.isWellFormed()) throw badEntry('a lone surrogate in a string')
  return JSON.stringify(text)
}

function isExactNumber(value: unknown): boolean {
  return Number.isSafeInteger(value) && !Object.is(value, -0)
}

function isTime(value: unknown): boolean {
  const ms = typeof value === 'string' && value.length === 24 ? Date.parse(value) : Number.NaN
  return !Number.isNaN(ms) && new Date(ms).toISOString() === value
}

function isFilled(value: unknown): boolean {
  return typeof value === 'string' && value !== ''
}

function isOneOf(words: readonly string[], value: unknown): boolean {
  return typeof value === 'string' && words.includes(value)
}

/** A plain object: no array, and no class (a Date, a Map) whose fields say little of what it holds. */
function isRecord(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

function badEntry(problem: string): AuditError {
  return new AuditError('AUDIT_BAD_ENTRY', `audit entry: ${problem}`)
}
