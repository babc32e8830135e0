import { createPublicKey, type KeyObject, randomBytes, randomUUID } from 'node:crypto'
import { isIP } from 'node:net'
import {
  type IssuedLeaf,
  issueLeaf,
  makeToken,
  type PeerIdentity,
  verifyRequest,
} from '#adapters/pki-x509/index.ts'
import {
  type AgentRow,
  addEndpointKey,
  agentById,
  insertAgent,
  insertEnrolmentToken,
  liveSessions,
  noteSuccession,
  readMetadata,
  renewedAgent,
  revokeAgent,
  useEnrolmentToken,
} from '#adapters/store-postgres/index.ts'
import type { EnrolRequest } from '#core/api/admin.ts'
import type { AuditActor } from '#core/audit/leaf.ts'
import { type Attestation, requestHash, TpmError } from '#core/tpm/index.ts'
import { decideAgain } from '../launches/decide-again.ts'
import { finishSession } from '../launches/live-sessions.ts'
import type { Site } from '../site.ts'
import { notFound, SiteError } from '../site-error.ts'
import { attest } from './attesting.ts'
import { provenFormer } from './succession.ts'
import { activated, hashOfSecret, hashOfToken, tokenRefused } from './tpm-enrolment.ts'

/** How machines become hosts, gateways and endpoints of the site, stay so, and stop being so. */

const tokenLifetimeMs = 60 * 60_000
const leafLifetimeMs = 24 * 60 * 60_000

export async function createEnrolmentToken(
  site: Site,
  wish: {
    readonly kind: AgentRow['kind']
    readonly name: string
    readonly addresses: readonly string[]
    readonly pool: string
  },
  actor: AuditActor,
): Promise<{ readonly token: string; readonly expiresAt: string }> {
  const secret = randomBytes(32)
  const expiresAt = new Date(site.now() + tokenLifetimeMs)
  await site.audit.record('enrolment-token', actor, undefined, {
    kind: wish.kind,
    name: wish.name,
    pool: wish.pool,
    expiresAt: expiresAt.toISOString(),
  })
  await insertEnrolmentToken(site.store.db, {
    secret_hash: hashOfSecret(secret),
    kind: wish.kind,
    name: wish.name,
    dns_names: [...wish.addresses],
    pool: wish.pool,
    expires_at: expiresAt,
  })
  return { token: makeToken(wish.kind, secret, site.authority.rootPem), expiresAt: expiresAt.toISOString() }
}

/**
 * Turns a token and a certificate request into an agent with a certificate. Who it is comes from the token, only its key from the request;
 * of an endpoint with a TPM, its attestation key from the challenge that this answers. What it was before, and proves, is kept beside it.
 *
 * @param asked untrusted
 * @throws {SiteError} TOKEN_REFUSED
 * @throws {PkiError} for a malformed token or request
 * @throws {TpmError} as `activated` does; the token is not used then
 */
export async function enrol(site: Site, { token, request, activation, formerly }: EnrolRequest) {
  const tokenHash = hashOfToken(token)
  const publicKey = verifyRequest(request)
  const tpm = activation === undefined ? undefined : await activated(site, token, request, activation)
  const kinds = tpm === undefined ? (['host', 'gateway', 'endpoint'] as const) : (['endpoint'] as const)
  const now = new Date(site.now())
  const granted = await useEnrolmentToken(site.store.db, tokenHash, kinds, now)
  if (granted === undefined) throw tokenRefused()
  const former = formerly && (await provenFormer(site, granted.kind, request, formerly))
  const id = randomUUID()
  const leaf = await issueFor(site, { id, ...granted }, publicKey)
  await site.audit.record('enrolled', { type: granted.kind, id }, undefined, {
    kind: granted.kind,
    name: granted.name,
    serial: leaf.serialNumber,
    ...(granted.kind === 'endpoint' ? { deviceKey: tpm === undefined ? 'file' : 'tpm' } : {}),
    ...(tpm?.ek_fingerprint == null ? {} : { endorsementKey: tpm.ek_fingerprint }),
    ...(granted.owner_id === null ? {} : { owner: granted.owner_id }),
    ...(former === undefined ? {} : { formerly: former }),
  })
  await insertAgent(site.store.db, {
    id,
    kind: granted.kind,
    name: granted.name,
    dns_names: granted.dns_names,
    pool: granted.pool,
    certificate_expires_at: new Date(leaf.notAfter),
    owner_id: granted.owner_id,
    enrolled_at: now,
    ...tpm,
  })
  if (granted.kind === 'endpoint') await knowKey(site, id, publicKey, leaf.notAfter)
  if (former !== undefined) await noteSuccession(site.store.db, former, id)
  const root = await readMetadata(site.store.db, 'root', undefined)
  return {
    id,
    siteId: site.siteId,
    certificate: leaf.chainPem,
    authorities: site.authority.rootPem,
    agentUrl: site.config.agents.url,
    directorKey: rawPublicKey(site.directorKey),
    ...(root === undefined ? {} : { releaseRoot: Buffer.from(root).toString('base64url') }),
  }
}

/**
 * The next certificate of an agent that still has one. An endpoint that was enrolled with a TPM is attested anew: a copied certificate and
 * key, without the TPM, end with the certificate.
 *
 * @throws {SiteError} NOT_FOUND, NOT_ALLOWED when it was revoked
 * @throws {TpmError} TPM_ATTESTATION_MISSING, and as `attest` does
 */
export async function renew(
  site: Site,
  peer: PeerIdentity,
  request: string,
  attestation?: Attestation,
): Promise<{ readonly certificate: string }> {
  const publicKey = verifyRequest(request)
  const agent = await livingAgent(site, peer)
  await attestRenewal(site, agent, attestation, requestHash(request))
  const leaf = await issueFor(site, agent, publicKey)
  await site.audit.record('enrolled', { type: agent.kind, id: agent.id }, undefined, {
    renewal: true,
    name: agent.name,
    serial: leaf.serialNumber,
  })
  if (agent.kind === 'endpoint') await knowKey(site, agent.id, publicKey, leaf.notAfter)
  await renewedAgent(site.store.db, agent.id, new Date(leaf.notAfter))
  return { certificate: leaf.chainPem }
}

/**
 * INVARIANT: who was enrolled with a TPM gets no further certificate without a quote of it.
 *
 * @param extraData what the quote must be over
 * @throws {TpmError} TPM_ATTESTATION_MISSING, and as `attest` does
 */
export async function attestRenewal(
  site: Site,
  agent: AgentRow,
  attestation: Attestation | undefined,
  extraData: Uint8Array,
): Promise<void> {
  if (attestation !== undefined) await attest(site, agent, attestation, extraData)
  else if (agent.device_key === 'tpm')
    throw new TpmError(
      'TPM_ATTESTATION_MISSING',
      `endpoint ${agent.name} is known by its TPM and brought no quote`,
      {
        remedy: 'Renew from the machine that was enrolled.',
      },
    )
}

/**
 * The agent behind a proven certificate.
 *
 * @throws {SiteError} NOT_FOUND, NOT_ALLOWED
 */
export async function livingAgent(site: Site, peer: PeerIdentity): Promise<AgentRow> {
  const agent = await agentById(site.store.db, peer.id)
  if (agent === undefined || agent.kind !== peer.role) throw notFound('agent')
  if (agent.revoked_at !== null) {
    throw new SiteError('NOT_ALLOWED', `${agent.kind} ${agent.name} was revoked`, {
      remedy: 'Enrol it again with a new token.',
    })
  }
  return agent
}

/**
 * Withdraws a machine's identity: its connections are closed within moments, its certificate is not renewed. The sessions of a host
 * are over as far as the site is concerned, so that their people can begin anew elsewhere; the leases of an endpoint are withdrawn,
 * and what was opened from it is decided again as from any device.
 */
export async function revoke(site: Site, id: string, actor: AuditActor): Promise<void> {
  const agent = await agentById(site.store.db, id)
  if (agent === undefined) throw notFound('agent')
  await site.audit.record('revoked', actor, id, { kind: agent.kind, name: agent.name })
  await revokeAgent(site.store.db, id, new Date(site.now()))
  // What it held first: the last word to an endpoint, before it is cut off, says that its leases are withdrawn.
  const end =
    agent.kind === 'endpoint'
      ? { code: 'SESSION_ENDPOINT_REVOKED', reason: 'This device was withdrawn' }
      : { code: 'SESSION_HOST_REVOKED', reason: 'Its host was withdrawn' }
  const where = agent.kind === 'endpoint' ? { endpointId: id } : { hostId: id }
  for (const session of await liveSessions(site.store.db, where))
    await finishSession(site, session.id, end, actor)
  await site.hints.tell({ topic: 'agents' })
  if (agent.kind === 'endpoint') await decideAgain(site, 'evidence', { fromEndpointId: id })
}

/** By this key the endpoint proves which machine a request comes from. */
async function knowKey(
  site: Site,
  endpointId: string,
  publicKey: Uint8Array,
  notAfter: number,
): Promise<void> {
  await addEndpointKey(site.store.db, {
    endpoint_id: endpointId,
    public_key: Buffer.from(publicKey),
    expires_at: new Date(notAfter),
  })
}

function rawPublicKey(key: KeyObject): string {
  const { x = '' } = createPublicKey(key).export({ format: 'jwk' })
  return x
}

/** A certificate for this key, a day long. */
export async function issueFor(
  site: Site,
  agent: Pick<AgentRow, 'id' | 'kind' | 'dns_names'>,
  publicKey: Uint8Array<ArrayBuffer>,
): Promise<IssuedLeaf> {
  return issueLeaf(site.authority, {
    publicKey,
    role: agent.kind,
    id: agent.id,
    dnsNames: agent.dns_names.filter((name) => isIP(name) === 0),
    ipAddresses: agent.dns_names.filter((name) => isIP(name) !== 0),
    usages: agent.kind === 'gateway' ? 'both' : 'client',
    lifetimeMs: leafLifetimeMs,
    now: site.now(),
  })
}
