import { type AgentRow, agentById, endpointKeys, evidenceOf } from '#adapters/store-postgres/index.ts'
import { readPublicKey } from '#core/ecdsa/index.ts'
import {
  claimedEndpoint,
  compareExporters,
  EndpointProofError,
  quotedProof,
  verifyEndpointProof,
} from '#core/identity/endpoint-proof.ts'
import { attestation as attestationSchema, TpmError } from '#core/tpm/index.ts'
import { noteInterception } from '../evidence/evidence.ts'
import type { Site } from '../site.ts'
import { SiteError } from '../site-error.ts'
import { attest } from './attesting.ts'

/** How old a proof may be, a person's as well as an endpoint's. */
export const proofMaxAgeMs = 60_000

/** Whether somebody between an endpoint and the site opens a connection, as its two ends say. */
export type Interception = ReturnType<typeof compareExporters>

/** The machine that a request comes from. */
export interface ProvenEndpoint {
  readonly endpoint: AgentRow
  /** Of the connection that the request came over. */
  readonly interception: Interception
  /** `tpm` when a quote of its TPM came with the proof; whoever has copied the key file can make the proof alone. */
  readonly deviceKey: 'file' | 'tpm'
}

/** While connections are being opened it is written down so often; it counts for as long as evidence. */
const noteEveryMs = 30_000

/**
 * The enrolled machine that co-signed a request whose person has proved who they are; undefined when none did.
 * INVARIANT I5: a proof that does not hold is refused and never passed over, so that nobody tries for free.
 *
 * @throws {SiteError} ENDPOINT_REFUSED
 */
export async function provenEndpoint(
  site: Site,
  {
    proof = '',
    endpointProof,
    attestation,
    exporter,
  }: {
    readonly proof: string | undefined
    readonly endpointProof: string | undefined
    /** Value of the header that carries a quote over the endpoint's proof. */
    readonly attestation: string | undefined
    /** Of the site's end of the connection; undefined where it cannot be compared. */
    readonly exporter: string | undefined
  },
): Promise<ProvenEndpoint | undefined> {
  if (endpointProof === undefined) return undefined
  const now = site.now()
  try {
    const id = claimedEndpoint(endpointProof)
    const [endpoint, known] = await Promise.all([
      agentById(site.store.db, id),
      endpointKeys(site.store.db, id, new Date(now)),
    ])
    if (endpoint?.kind !== 'endpoint') throw refused('no such endpoint is enrolled here')
    const keys = known.map(readPublicKey)
    const said = verifyEndpointProof(endpointProof, {
      keys,
      siteId: site.siteId,
      proof,
      nowMs: now,
      maxAgeMs: proofMaxAgeMs,
    })
    if (endpoint.revoked_at !== null) throw refused(`endpoint ${endpoint.name} was revoked`)
    const interception = compareExporters(said.exporter, exporter)
    const deviceKey =
      attestation === undefined ? 'file' : await attestedKey(site, endpoint, attestation, endpointProof)
    await notePath(site, id, interception)
    return { endpoint, interception, deviceKey }
  } catch (error) {
    if (error instanceof EndpointProofError || error instanceof TpmError) throw refused(error.message, error)
    throw error
  }
}

/** @throws {TpmError} for a quote that is not of the enrolled TPM, or not over this proof */
async function attestedKey(
  site: Site,
  endpoint: AgentRow,
  header: string,
  endpointProof: string,
): Promise<'tpm'> {
  const read = attestationSchema.safeParse(jsonOf(header))
  if (!read.success) throw new TpmError('TPM_MALFORMED', 'expected an attestation, JSON in base64url')
  return (await attest(site, endpoint, read.data, quotedProof(endpointProof))).deviceKey
}

function jsonOf(header: string): unknown {
  try {
    return JSON.parse(Buffer.from(header, 'base64url').toString())
  } catch {
    return undefined
  }
}

/** What runs on the endpoint is decided again when its requests begin to be opened, and when that is over. */
async function notePath(site: Site, endpointId: string, interception: Interception): Promise<void> {
  if (interception === 'unknown') return
  const path = (await evidenceOf(site.store.db, endpointId))?.path ?? undefined
  const wasDetected = path?.interception === 'detected'
  const isKnown = interception === 'none' ? !wasDetected : wasDetected && site.now() - path.at < noteEveryMs
  if (!isKnown) await noteInterception(site, endpointId, interception)
}

function refused(why: string, cause?: unknown): SiteError {
  return new SiteError('ENDPOINT_REFUSED', why, {
    remedy:
      'Start `trustcast endpoint` on this device so that its certificate is renewed, or have it enrolled again.',
    cause,
  })
}
