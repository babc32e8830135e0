import { createHmac, randomBytes } from 'node:crypto'
import { agentById, endpointKeys, evidenceOf } from '#adapters/store-postgres/index.ts'
import { constantTimeEqual } from '#core/bytes/index.ts'
import { readPublicKey } from '#core/ecdsa/index.ts'
import { EvidenceError, seenWith, verifyEvidence } from '#core/evidence/index.ts'
import type { Site } from '../site.ts'
import { SiteError } from '../site-error.ts'
import { evidenceSecret, noteInterception, recordOtherConnection } from './evidence.ts'

/**
 * Evidence over the port for people, for an endpoint whose agent cannot reach the site: somebody ends TLS on the way, with an authority
 * that the endpoint trusts for other things. The statement says over which connection it was sent; on the site's end it is another one.
 * It tells of interception and of nothing else: an endpoint counts as reporting by its agent's own connection alone.
 *
 * A nonce is `time u64 | 8 random bytes | HMAC-SHA256(site's secret, "path" | endpoint | time | random), 16 bytes`: any node of the site
 * can issue and check it, and nothing is kept of those who only ask. To bring one again changes nothing.
 */

const nonceLifeMs = 60_000

export function pathNonce(site: Site, endpointId: string): string {
  const head = Buffer.alloc(16)
  head.writeBigUInt64BE(BigInt(site.now()))
  randomBytes(8).copy(head, 8)
  return Buffer.concat([head, macOf(site, endpointId, head)]).toString('base64url')
}

/**
 * @param exporter of the site's end of the connection; undefined behind a proxy of ours
 * @returns whether somebody opens it
 * @throws {SiteError} ENDPOINT_REFUSED
 */
export async function takePathEvidence(
  site: Site,
  endpointId: string,
  statement: string,
  exporter: string | undefined,
): Promise<'none' | 'detected' | 'unknown'> {
  const nowMs = site.now()
  const [endpoint, keys] = await Promise.all([
    agentById(site.store.db, endpointId),
    endpointKeys(site.store.db, endpointId, new Date(nowMs)),
  ])
  if (endpoint?.kind !== 'endpoint' || endpoint.revoked_at !== null)
    throw refused('no such endpoint is enrolled here')
  const said = verified(statement, endpointId, keys.map(readPublicKey))
  if (said.site !== site.siteId) throw refused('the evidence is for another site')
  const challengedAt = freshTimeOf(site, endpointId, said.nonce)
  const { interception } = seenWith(said, { exporter, nowMs })
  if (interception === 'detected') {
    const noted = (await evidenceOf(site.store.db, endpointId))?.path
    // Whoever brings it again, over whatever connection, tells nothing new.
    if (noted?.interception === 'detected' && noted.at >= challengedAt) return interception
    await recordOtherConnection(site, endpointId)
  }
  await noteInterception(site, endpointId, interception)
  return interception
}

function verified(statement: string, endpointId: string, keys: Parameters<typeof verifyEvidence>[2]) {
  try {
    return verifyEvidence(statement, endpointId, keys)
  } catch (error) {
    if (error instanceof EvidenceError) throw refused(error.message, error)
    throw error
  }
}

/** @returns when the nonce was issued, Unix time in ms */
function freshTimeOf(site: Site, endpointId: string, nonce: string): number {
  const bytes = Buffer.from(nonce, 'base64url')
  const head = bytes.subarray(0, 16)
  const isOurs = bytes.length === 32 && constantTimeEqual(bytes.subarray(16), macOf(site, endpointId, head))
  const issuedAt = isOurs ? Number(head.readBigUInt64BE()) : Number.NEGATIVE_INFINITY
  if (site.now() - issuedAt > nonceLifeMs)
    throw refused('the evidence answers no fresh challenge of this site')
  return issuedAt
}

function macOf(site: Site, endpointId: string, head: Buffer): Buffer {
  const mac = createHmac('sha256', evidenceSecret(site)).update(`path|${endpointId}|`).update(head)
  return mac.digest().subarray(0, 16)
}

function refused(why: string, cause?: unknown): SiteError {
  return new SiteError('ENDPOINT_REFUSED', why, { cause })
}
