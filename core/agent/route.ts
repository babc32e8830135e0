import { type KeyObject, sign, verify } from 'node:crypto'
import { CodedError } from '#core/errors/coded-error.ts'

export type RouteErrorCode = 'ROUTE_MALFORMED' | 'ROUTE_FORGED' | 'ROUTE_EXPIRED'
export class RouteError extends CodedError<RouteErrorCode> {}

/** Admission to a gateway: "join the bearer to this host". It opens nothing at the host; the ticket does. */
export interface RouteClaims {
  readonly host: string
  readonly session: string
  /** Unix time, s. */
  readonly exp: number
}

const maxTokenChars = 500
const uuidPattern = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** Makes `payload.signature`, both base64url; Ed25519 over the payload's characters after a domain prefix. */
export function signRoute(claims: RouteClaims, key: KeyObject): string {
  const payload = Buffer.from(JSON.stringify([claims.host, claims.session, claims.exp])).toString('base64url')
  return `${payload}.${sign(null, signedBytes(payload), key).toString('base64url')}`
}

/**
 * Verifies a route token against the site's route keys.
 *
 * @param token as it came from the person, untrusted
 * @param nowMs Unix time, ms
 * @throws {RouteError} ROUTE_MALFORMED, ROUTE_FORGED, ROUTE_EXPIRED
 */
export function verifyRoute(token: string, keys: readonly KeyObject[], nowMs: number): RouteClaims {
  const [payload, signature, ...rest] = token.length > maxTokenChars ? [] : token.split('.')
  if (payload === undefined || signature === undefined || rest.length > 0) {
    throw new RouteError('ROUTE_MALFORMED', 'a route token has two parts of base64url')
  }
  const signatureBytes = Buffer.from(signature, 'base64url')
  if (!keys.some((key) => verify(null, signedBytes(payload), key, signatureBytes))) {
    throw new RouteError('ROUTE_FORGED', 'no route key of this site signed this token')
  }
  const claims = parsePayload(payload)
  if (claims.exp * 1000 <= nowMs) {
    throw new RouteError('ROUTE_EXPIRED', 'the route has expired', { remedy: 'Ask the site for a new one.' })
  }
  return claims
}

function signedBytes(payload: string): Buffer {
  return Buffer.from(`trustcast route 1\n${payload}`)
}

function parsePayload(payload: string): RouteClaims {
  let parsed: unknown
  try {
    parsed = JSON.parse(Buffer.from(payload, 'base64url').toString())
  } catch (cause) {
    throw new RouteError('ROUTE_MALFORMED', 'the payload of a route token is JSON', { cause })
  }
  if (Array.isArray(parsed) && parsed.length === 3) {
    const [host, session, exp] = parsed as readonly unknown[]
    if (isUuid(host) && isUuid(session) && Number.isSafeInteger(exp))
      return { host, session, exp: exp as number }
  }
  throw new RouteError('ROUTE_MALFORMED', 'a route token says [host, session, expiry]')
}

function isUuid(value: unknown): value is string {
  return typeof value === 'string' && uuidPattern.test(value)
}
