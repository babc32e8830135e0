import type { IncomingMessage, ServerResponse } from 'node:http'
import type { PeerIdentity } from '#adapters/pki-x509/index.ts'
import { isAway, type LeaseDetail } from '#adapters/store-postgres/index.ts'
import { longestManifestBytes, longestSealedBytes } from '#core/replica/index.ts'
import { commitManifest, keepPiece, readPiece, readReplicaManifest, replicaLease } from '../data/replicas.ts'
import { livingAgent } from '../endpoints/enrolment.ts'
import type { Site } from '../site.ts'
import { notFound, SiteError, siteErrorStatus } from '../site-error.ts'

/**
 * Replicas over the agents' port, for the endpoint that holds a lease:
 *
 *     PUT /leases/LEASE/replica/pieces/NAME                 204; what is there already stays
 *     GET /leases/LEASE/replica/pieces/NAME                 200 and its bytes
 *     GET /leases/LEASE/replica/manifest                    200 and its bytes; 204: there is none
 *     PUT /leases/LEASE/replica/manifest?previous=SEQUENCE  204
 *
 * To everybody else a lease does not exist.
 */

export interface ReplicaWish {
  readonly leaseId: string
  /** Of a piece; undefined: the manifest. */
  readonly name: string | undefined
  /** Of a manifest that is put: which state it follows. */
  readonly previous: number | undefined
}

const path =
  /^\/leases\/(?<leaseId>[0-9a-f-]{36})\/replica\/(?:manifest(?:\?previous=(?<previous>\d{1,15}))?|pieces\/(?<name>[0-9a-f]{64}))$/

/** What a request is about, if it is about a replica. */
export function replicaWish({ url = '' }: IncomingMessage): ReplicaWish | undefined {
  const { leaseId, name, previous } = path.exec(url)?.groups ?? {}
  if (leaseId === undefined) return undefined
  return { leaseId, name, previous: previous === undefined ? undefined : Number(previous) }
}

export async function answerReplica(
  site: Site,
  peer: PeerIdentity,
  wish: ReplicaWish,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    const bytes = await carryOut(site, peer, wish, request)
    if (bytes === undefined) response.writeHead(204).end()
    else
      response
        .writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': bytes.length })
        .end(bytes)
  } catch (error) {
    refuse(site, error, request, response)
  }
}

/** @returns what is to be answered */
async function carryOut(
  site: Site,
  peer: PeerIdentity,
  { leaseId, name, previous }: ReplicaWish,
  request: IncomingMessage,
): Promise<Uint8Array | undefined> {
  if (peer.role !== 'endpoint') throw notFound('lease')
  await livingAgent(site, peer)
  const lease = await replicaLease(site, peer.id, leaseId)
  if (request.method === 'GET')
    return name === undefined ? readReplicaManifest(site, lease) : readPiece(site, lease, name)
  if (request.method !== 'PUT') throw notFound('request')
  if (name === undefined) await putManifest(site, lease, previous, request)
  else await keepPiece(site, lease, name, await bodyOf(request, longestSealedBytes))
  return undefined
}

async function putManifest(
  site: Site,
  lease: LeaseDetail,
  previous: number | undefined,
  request: IncomingMessage,
): Promise<void> {
  if (previous === undefined) throw new SiteError('BAD_REQUEST', 'expected ?previous=SEQUENCE')
  const bytes = await bodyOf(request, longestManifestBytes)
  // What is decided may have changed while it came.
  await commitManifest(site, await replicaLease(site, lease.endpoint_id, lease.id), previous, bytes)
}

/** @throws {SiteError} REPLICA_TOO_LARGE */
async function bodyOf(request: IncomingMessage, most: number): Promise<Buffer> {
  const tooLarge = (): SiteError =>
    new SiteError('REPLICA_TOO_LARGE', `expected a body of at most ${most} bytes`)
  if (Number(request.headers['content-length'] ?? 0) > most) throw tooLarge()
  const parts: Buffer[] = []
  let length = 0
  // Who sends too much is still to be told so.
  const sent = request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>
  for await (const part of sent) {
    length += part.length
    if (length > most) throw tooLarge()
    parts.push(part)
  }
  return Buffer.concat(parts)
}

function refuse(site: Site, error: unknown, request: IncomingMessage, response: ServerResponse): void {
  const { status, body } = answerOf(error)
  if (status >= 500 && body.code !== 'SITE_BUSY') site.log.error({ err: error }, 'a replica failed')
  if (response.headersSent) response.destroy()
  else response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  // Whoever still sends hears of it only when that is read; the server bounds how long that takes.
  request.resume()
}

function answerOf(error: unknown) {
  if (isAway(error)) return { status: 503, body: { code: 'SITE_BUSY', message: 'the database is away' } }
  if (!(error instanceof SiteError))
    return { status: 500, body: { code: 'SITE_BROKEN', message: 'something went wrong on our side' } }
  const { code, message, remedy } = error
  return {
    status: siteErrorStatus[code],
    body: { code, message, ...(remedy === undefined ? {} : { remedy }) },
  }
}
