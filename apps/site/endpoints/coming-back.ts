import { createHash, createHmac, hkdfSync, verify } from 'node:crypto'
import {
  type AgentRow,
  agentById,
  type EndpointKeyRow,
  evidenceOf,
  lastEndpointKeys,
  prolongEndpointKey,
  renewedAgent,
} from '#adapters/store-postgres/index.ts'
import { constantTimeEqual } from '#core/bytes/index.ts'
import { readPublicKey } from '#core/ecdsa/index.ts'
import { renewalStatement } from '#core/identity/renewal-statement.ts'
import type { Attestation } from '#core/tpm/index.ts'
import type { Site } from '../site.ts'
import { SiteError } from '../site-error.ts'
import { attestRenewal, issueFor } from './enrolment.ts'

/**
 * How an endpoint that was off when its certificate ended comes back by itself. TLS knows it no more, so it asks at the port for people
 * and proves the key of its last certificate, and its TPM, over a nonce of the site. The certificate that it gets is for the same key: an
 * answer that is lost costs nothing, and with it the endpoint renews as ever, to a new key.
 *
 * INVARIANT: the key of the last certificate alone counts. Each renewal makes what was copied before it worthless.
 *
 * A nonce is `time u64 | HMAC-SHA256(site's secret, endpoint | end of its last certificate | time)`: any node can issue and check it, and
 * nothing is kept of those who only ask. The certificate that it leads to has another end, so it is good once.
 */

const nonceLifeMs = 60_000
const dayMs = 86_400_000

/** @throws {SiteError} ENDPOINT_REFUSED */
export async function renewalNonce(site: Site, endpointId: string): Promise<string> {
  const [last] = await lastEndpointKeys(site.store.db, endpointId)
  if (last === undefined) throw unknown()
  const time = Buffer.alloc(8)
  time.writeBigUInt64BE(BigInt(site.now()))
  return Buffer.concat([time, macOf(site, last, time)]).toString('base64url')
}

/**
 * @param asked untrusted
 * @throws {SiteError} ENDPOINT_REFUSED
 * @throws {TpmError} as `renew` does
 */
export async function comeBack(
  site: Site,
  asked: {
    readonly endpointId: string
    readonly nonce: string
    /** ECDSA with SHA-256 over the statement, DER. */
    readonly signature: Uint8Array
    readonly attestation?: Attestation | undefined
  },
): Promise<{ readonly certificate: string }> {
  const { db } = site.store
  const { endpointId, nonce, signature, attestation } = asked
  const [endpoint, keys] = await Promise.all([agentById(db, endpointId), lastEndpointKeys(db, endpointId)])
  if (endpoint?.kind !== 'endpoint') throw unknown()
  const statement = renewalStatement({ siteId: site.siteId, endpointId, nonce })
  const last = keys.find((key) => isSigned(statement, key, signature))
  if (last === undefined) throw refused('the key of its last certificate did not sign this', enrolIt)
  requireFresh(site, last, nonce)
  await requireWelcome(site, endpoint, last)
  await attestRenewal(site, endpoint, attestation, createHash('sha256').update(statement).digest())
  const leaf = await issueFor(site, endpoint, new Uint8Array(last.public_key))
  await site.audit.record('enrolled', { type: 'endpoint', id: endpointId }, undefined, {
    renewal: true,
    name: endpoint.name,
    serial: leaf.serialNumber,
    expiredAt: last.expires_at.toISOString(),
  })
  const expiresAt = new Date(leaf.notAfter)
  // Of several that bring one nonce at once, one is given a certificate.
  if (!(await prolongEndpointKey(db, last, expiresAt))) throw refused('this nonce is used', tryAgain)
  await renewedAgent(db, endpointId, expiresAt)
  return { certificate: leaf.chainPem }
}

const tryAgain = 'It asks again by itself.'
const enrolIt = 'Enrol it again: what it keeps stays.'

function isSigned(statement: Buffer, { public_key: key }: EndpointKeyRow, signature: Uint8Array): boolean {
  return verify('sha256', statement, readPublicKey(key), signature)
}

/** @throws {SiteError} ENDPOINT_REFUSED */
async function requireWelcome(
  site: Site,
  { id, name, revoked_at }: AgentRow,
  last: EndpointKeyRow,
): Promise<void> {
  if (revoked_at !== null) throw refused(`endpoint ${name} was revoked`, 'Enrol it again with a new token.')
  if ((await evidenceOf(site.store.db, id))?.forked_at != null)
    throw refused(
      `the key of endpoint ${name} was seen on two machines, or it was put back`,
      'Have an admin let it begin anew under Endpoints, or enrol it again.',
    )
  const days = site.config.endpoints.absenceDays
  if (site.now() > last.expires_at.getTime() + days * dayMs)
    throw refused(`the certificate of endpoint ${name} ended more than ${days} days ago`, enrolIt)
}

/** @throws {SiteError} ENDPOINT_REFUSED */
function requireFresh(site: Site, last: EndpointKeyRow, nonce: string): void {
  const bytes = Buffer.from(nonce, 'base64url')
  const time = bytes.subarray(0, 8)
  const isOurs = bytes.length === 40 && constantTimeEqual(bytes.subarray(8), macOf(site, last, time))
  const ageMs = isOurs ? site.now() - Number(time.readBigUInt64BE()) : Number.POSITIVE_INFINITY
  if (ageMs > nonceLifeMs) throw refused('this answers no fresh nonce of this site', tryAgain)
}

function macOf({ imageSecret, siteId }: Site, last: EndpointKeyRow, time: Buffer): Buffer {
  const secret = hkdfSync('sha256', imageSecret, siteId, 'trustcast renewal nonces', 32)
  return createHmac('sha256', Buffer.from(secret))
    .update(`${last.endpoint_id}|${last.expires_at.getTime()}|`)
    .update(time)
    .digest()
}

function unknown(): SiteError {
  return refused('no such endpoint is enrolled here', 'Enrol this machine.')
}

function refused(why: string, remedy: string): SiteError {
  return new SiteError('ENDPOINT_REFUSED', why, { remedy })
}
