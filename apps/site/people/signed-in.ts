import { createHash, randomBytes, randomUUID } from 'node:crypto'
import {
  deleteWebSession,
  insertWebSession,
  type PersonRow,
  prolongWebSession,
  touchWebSession,
  type WebSessionRow,
  webSessionByToken,
} from '#adapters/store-postgres/index.ts'
import type { AuditActor } from '#core/audit/leaf.ts'
import { ProofError, proofHeader, verifyProof } from '#core/identity/proof.ts'
import { proofMaxAgeMs, provenEndpoint } from '../endpoints/proven-endpoint.ts'
import { decideAgain } from '../launches/decide-again.ts'
import type { Circumstances } from '../launches/deciding.ts'
import type { Site } from '../site.ts'
import { SiteError } from '../site-error.ts'

/** Who makes a request, proven. */
export interface SignedIn {
  readonly person: PersonRow
  readonly webSession: WebSessionRow
  readonly circumstances: Omit<Circumstances, 'evidence'>
}

/** Whose members may change the site. */
export const adminGroup = 'admins'
/** Whose members may look at everything and change nothing. */
export const auditorGroup = 'auditors'

export function isAdmin({ person }: Pick<SignedIn, 'person'>): boolean {
  return person.groups.includes(adminGroup)
}

export function isAuditor({ person }: Pick<SignedIn, 'person'>): boolean {
  return person.groups.includes(auditorGroup)
}

export function actorOf({ person }: Pick<SignedIn, 'person'>): AuditActor {
  return { type: 'person', id: person.id }
}

export const cookieName = '__Host-trustcast'
const idleMs = 30 * 60_000
const absoluteMs = 12 * 60 * 60_000
/** Writing "seen" for every request would write on every read. */
const touchEveryMs = 60_000
const maxRememberedProofs = 200_000

export interface ArrivedRequest {
  readonly method: string
  /** Path and query. */
  readonly path: string
  readonly body: Uint8Array
  readonly cookie: string | undefined
  readonly proof: string | undefined
  /** Value of the header by which an endpoint co-signs the proof. */
  readonly endpointProof: string | undefined
  /** Value of the header by which its TPM quotes the co-signature. */
  readonly attestation: string | undefined
  /** Of the connection it came over, see `exporterOf`. */
  readonly exporter: string | undefined
  readonly address: string
  /** A page made it by itself while nobody was at it. */
  readonly unattended: boolean
}

export type Authenticate = (request: ArrivedRequest) => Promise<SignedIn>

/** @returns the function that says who makes a request; it remembers used proofs */
export function createAuthenticate(site: Site): Authenticate {
  const usedProofs = new Map<string, number>()
  const paces = new Map<string, Pace>()
  return async (request) => {
    const token = request.cookie
    if (token === undefined || !/^[A-Za-z0-9_-]{43}$/.test(token)) throw notSignedIn()
    const found = await webSessionByToken(site.store.db, hashToken(token), new Date(site.now()))
    if (found === undefined) throw notSignedIn()
    await requireProof(site, request, found.session.thumbprint, usedProofs)
    requirePace(site.now(), found.session.id, paces)
    const proven = await provenEndpoint(site, request)
    await seen(site, found.session, request)
    return {
      person: found.person,
      webSession: found.session,
      circumstances: {
        person: found.person,
        signedInAt: found.session.created_at.getTime(),
        address: request.address,
        endpoint: proven?.endpoint,
        webSessionId: found.session.id,
        interception: proven?.interception,
        deviceKey: proven?.deviceKey,
      },
    }
  }
}

/** A bucket of requests that fills with time. */
export interface Pace {
  left: number
  at: number
}

/** More than any page or person needs: a script that asks without end slows only itself. */
const burst = 200
const perSecond = 20
const maxPaces = 50_000

/** @throws {SiteError} TOO_FAST */
export function requirePace(now: number, webSessionId: string, paces: Map<string, Pace>): void {
  const pace = paces.get(webSessionId) ?? { left: burst, at: now }
  pace.left = Math.min(burst, pace.left + (Math.max(0, now - pace.at) / 1000) * perSecond)
  pace.at = now
  // Whoever asked last stands last; who has not asked for longest has a full bucket anyway.
  paces.delete(webSessionId)
  paces.set(webSessionId, pace)
  for (const [oldest] of paces) {
    if (paces.size <= maxPaces) break
    paces.delete(oldest)
  }
  if (pace.left < 1) {
    throw new SiteError('TOO_FAST', 'too many requests from this sign-in', {
      remedy: 'Wait a moment.',
      retryAfter: 1,
    })
  }
  pace.left -= 1
}

/** A cookie alone opens nothing: the request must be signed by the key that signed in (bound, and so forgery-proof across sites). */
async function requireProof(
  site: Site,
  request: ArrivedRequest,
  expected: string,
  used: Map<string, number>,
): Promise<void> {
  const now = site.now()
  if (request.proof === undefined) throw proofRefused(`the request has no ${proofHeader} header`)
  try {
    const { thumbprint, jti } = await verifyProof(request.proof, {
      ...request,
      nowMs: now,
      maxAgeMs: proofMaxAgeMs,
    })
    if (thumbprint !== expected) throw proofRefused('another key signed in')
    for (const [old, at] of used) {
      if (at > now - 2 * proofMaxAgeMs && used.size < maxRememberedProofs) break
      used.delete(old)
    }
    if (used.has(jti)) throw proofRefused('this proof was used before')
    used.set(jti, now)
  } catch (error) {
    if (error instanceof ProofError) throw proofRefused(error.message, error)
    throw error
  }
}

/** Notes when and from where; another address means another network, and everything is decided again. */
async function seen(
  site: Site,
  session: WebSessionRow,
  { address, unattended }: Pick<ArrivedRequest, 'address' | 'unattended'>,
): Promise<void> {
  const now = site.now()
  const moved = session.address !== address
  const endsAt = session.expires_at.getTime()
  const expires = unattended ? endsAt : Math.min(now + idleMs, session.created_at.getTime() + absoluteMs)
  const isNews = expires - endsAt >= touchEveryMs || now - session.last_seen_at.getTime() >= touchEveryMs
  if (!moved && !isNews) return
  await touchWebSession(site.store.db, session.id, {
    last_seen_at: new Date(now),
    expires_at: new Date(expires),
    address,
  })
  if (moved) await decideAgain(site, 'zone', { webSessionId: session.id })
}

/**
 * @param person as the sign-in was checked against
 * @returns the cookie's value, which exists nowhere else
 * @throws {SiteError} SIGN_IN_REFUSED when the account was changed meanwhile
 */
export async function beginWebSession(
  site: Site,
  person: PersonRow,
  keyThumbprint: string,
  address: string,
): Promise<string> {
  const token = randomBytes(32).toString('base64url')
  const now = site.now()
  const row = {
    id: randomUUID(),
    token_hash: hashToken(token),
    person_id: person.id,
    thumbprint: keyThumbprint,
    address,
    created_at: new Date(now),
    last_seen_at: new Date(now),
    expires_at: new Date(now + idleMs),
  }
  if (await insertWebSession(site.store.db, row, person.password)) return token
  throw new SiteError('SIGN_IN_REFUSED', 'the account was changed while you signed in', {
    remedy: 'Sign in again.',
  })
}

/**
 * Who works in a session is not idle, although the browser asks the site for nothing meanwhile.
 *
 * @param usedAt last key or pointer event, Unix time in ms, as the host saw it
 */
export async function noteUse(site: Site, webSessionId: string, usedAt: number): Promise<void> {
  const now = site.now()
  const until = new Date(Math.min(usedAt, now) + idleMs)
  await prolongWebSession(site.store.db, webSessionId, { now: new Date(now), until, longestMs: absoluteMs })
}

/** Signing out freezes what was opened from here, until somebody signs in and comes back to it. */
export async function endWebSession(site: Site, { person, webSession }: SignedIn): Promise<void> {
  await site.audit.record('sign-out', { type: 'person', id: person.id }, undefined, {
    webSession: webSession.id,
  })
  await deleteWebSession(site.store.db, webSession.id)
  await decideAgain(site, 'evidence', { personId: person.id })
  await site.hints.tell({ topic: 'person', id: person.id })
}

export function setCookie(token: string): string {
  return `${cookieName}=${token}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=${absoluteMs / 1000}`
}

export function clearCookie(): string {
  return `${cookieName}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0`
}

/** The token of a Cookie header, if it has exactly one of ours. */
export function readCookie(header: string | undefined): string | undefined {
  const values = (header ?? '')
    .slice(0, 8192)
    .split(';')
    .map((part) => part.trim())
    .filter((part) => part.startsWith(`${cookieName}=`))
  return values.length === 1 ? values[0]?.slice(cookieName.length + 1) : undefined
}

function hashToken(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}

export function notSignedIn(): SiteError {
  return new SiteError('NOT_SIGNED_IN', 'you are not signed in, or your sign-in has ended', {
    remedy: 'Sign in.',
  })
}

function proofRefused(why: string, cause?: unknown): SiteError {
  return new SiteError('PROOF_REFUSED', why, { remedy: 'Sign in again in this browser.', cause })
}
