import { Agent, type RequestOptions, request } from 'node:https'
import { clientTls } from '#adapters/pki-x509/index.ts'
import { type AgentIdentity, readIdentity } from '#apps/agent-client/index.ts'
import { apiRefusal } from '#core/api/words.ts'
import {
  longestManifestBytes,
  longestSealedBytes,
  ReplicaError,
  type ReplicaErrorCode,
} from '#core/replica/index.ts'

/**
 * One replica at the site, as its lease lets this endpoint use it. Nothing that comes from there is trusted.
 *
 * Concurrency: any number of calls; four are under way at once. Each is safe to be repeated.
 * Errors: {ReplicaError} REPLICA_UNREACHABLE, REPLICA_REFUSED, and those of the site; the signal's reason.
 */
export interface ReplicaClient extends Disposable {
  /** @returns undefined when there is nothing */
  manifest(signal: AbortSignal): Promise<Uint8Array | undefined>
  /** @throws {ReplicaError} REPLICA_CONFLICT, REPLICA_INCOMPLETE, REPLICA_TOO_LARGE, REPLICA_MALFORMED */
  putManifest(bytes: Uint8Array, previous: number, signal: AbortSignal): Promise<void>
  /** @throws {ReplicaError} REPLICA_INCOMPLETE */
  piece(name: string, signal: AbortSignal): Promise<Uint8Array>
  /** @throws {ReplicaError} REPLICA_TOO_LARGE */
  putPiece(name: string, bytes: Uint8Array, signal: AbortSignal): Promise<void>
}

export const requestsAtOnce = 4
const timeoutMs = 60_000
/** A certificate is renewed long before it ends; to read it each time would cost more than to send a piece. */
const identityMs = 5 * 60_000
const longestRefusal = 10_000
const knownCodes: ReadonlySet<string> = new Set<ReplicaErrorCode>([
  'REPLICA_CONFLICT',
  'REPLICA_INCOMPLETE',
  'REPLICA_TOO_LARGE',
  'REPLICA_MALFORMED',
])

/** @param dir holds this endpoint's identity */
export function replicaClient(dir: string, leaseId: string): ReplicaClient {
  const agent = new Agent({ keepAlive: true, maxSockets: requestsAtOnce, maxCachedSessions: 0 })
  let known: { readonly identity: Promise<AgentIdentity>; readonly at: number } | undefined
  const identityNow = (): Promise<AgentIdentity> => {
    const now = performance.now()
    if (known === undefined || now - known.at > identityMs)
      known = { identity: readIdentity(dir, 'endpoint'), at: now }
    return known.identity
  }
  const ask = async (what: string, wish: Wish): Promise<Uint8Array | undefined> => {
    const identity = await identityNow()
    const { rootPem, siteId, agentUrl } = identity
    const tls = clientTls(rootPem, { siteId, role: 'site' }, identity)
    return exchange(new URL(`/leases/${leaseId}/replica/${what}`, agentUrl), { ...tls, agent }, wish)
  }
  return {
    manifest: (signal) => ask('manifest', { most: longestManifestBytes, signal }),
    putManifest: async (body, previous, signal) => {
      await ask(`manifest?previous=${previous}`, { body, most: 0, signal })
    },
    piece: async (name, signal) =>
      (await ask(`pieces/${name}`, { most: longestSealedBytes, signal })) ?? new Uint8Array(0),
    putPiece: async (name, body, signal) => {
      await ask(`pieces/${name}`, { body, most: 0, signal })
    },
    [Symbol.dispose]: () => agent.destroy(),
  }
}

interface Wish {
  /** Put; absent: something is got. */
  readonly body?: Uint8Array
  /** That is taken as an answer. */
  readonly most: number
  readonly signal: AbortSignal
}

/** @returns undefined for 204 */
async function exchange(url: URL, options: RequestOptions, wish: Wish): Promise<Uint8Array | undefined> {
  const { body, most, signal } = wish
  signal.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array | undefined>()
  const headers = body === undefined ? {} : { 'content-length': body.length }
  const limit = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
  const outgoing = request(url, {
    ...options,
    method: body === undefined ? 'GET' : 'PUT',
    headers,
    signal: limit,
  })
  const fail = (cause: Error): void =>
    reject(signal.aborted ? (signal.reason as Error) : unreachable(url, cause))
  outgoing.on('error', (error) => {
    // The site has closed a connection just when it was used again: whether it took anything does not matter.
    if (outgoing.reusedSocket && !limit.aborted) resolve(exchange(url, options, wish))
    else fail(error)
  })
  outgoing.on('response', (response) => {
    const { statusCode = 0 } = response
    const isGood = statusCode >= 200 && statusCode < 300
    const parts: Buffer[] = []
    let length = 0
    response.on('error', fail)
    response.on('data', (part: Buffer) => {
      length += part.length
      parts.push(part)
      if (length > (isGood ? most : longestRefusal)) response.destroy(new Error('it answered too much'))
    })
    response.on('end', () => {
      const bytes = Buffer.concat(parts)
      if (!isGood) reject(refusalOf(url, statusCode, bytes))
      else resolve(statusCode === 204 ? undefined : bytes)
    })
  })
  outgoing.end(body)
  return promise
}

function refusalOf(url: URL, status: number, bytes: Uint8Array): ReplicaError {
  const { data } = apiRefusal.safeParse(parse(String(bytes)))
  if (data === undefined || status >= 500) return unreachable(url, new Error(`it answered ${status}`))
  const { code, message, remedy } = data
  const options = remedy === undefined ? {} : { remedy }
  return knownCodes.has(code)
    ? new ReplicaError(code as ReplicaErrorCode, message, options)
    : new ReplicaError('REPLICA_REFUSED', `the site refused: ${code}: ${message}`, options)
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function unreachable(url: URL, cause: Error): ReplicaError {
  return new ReplicaError('REPLICA_UNREACHABLE', `${url.origin} cannot be asked: ${cause.message}`, {
    remedy: 'Check that the site can be reached; what is written stays on this device meanwhile.',
    cause,
  })
}
