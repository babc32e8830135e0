import { createPrivateKey, X509Certificate } from 'node:crypto'
import type { z } from 'zod'
import {
  clientTls,
  createIdentityKey,
  identityOf,
  parseToken,
  verifyPinnedRoot,
} from '#adapters/pki-x509/index.ts'
import { enrolAnswer } from '#core/api/admin.ts'
import { AgentError } from './agent-error.ts'
import { type AgentIdentity, readIdentity, writeIdentity } from './agent-identity.ts'
import { getText, postJson } from './request-json.ts'

export interface Enrolment {
  /** Where people reach the site. */
  readonly url: string
  /** Single-use, from the console; it pins the site's root certificate. */
  readonly token: string
  /** Gets the identity; made when missing. */
  readonly dir: string
  readonly kind: AgentIdentity['kind']
}

/**
 * Makes this machine a host, gateway or endpoint of a site.
 *
 * The private key is made here and stays here. The site is believed only once it has shown the root certificate that
 * the token names, and then proven a certificate under it; before that it gets no secret.
 *
 * @throws {AgentError} AGENT_ENROLLED_ALREADY, AGENT_WRONG_TOKEN, AGENT_WRONG_CERTIFICATE, AGENT_SITE_AWAY, AGENT_SITE_REFUSED, AGENT_SITE_MALFORMED
 * @throws {PkiError} PKI_BAD_TOKEN, PKI_PIN_MISMATCH, PKI_WRONG_PEER
 */
export async function enrolAgent(enrolment: Enrolment, signal?: AbortSignal): Promise<AgentIdentity> {
  const { url, token, dir, kind } = enrolment
  const { kind: tokenKind, rootHash } = parseToken(token)
  if (tokenKind !== kind)
    throw new AgentError('AGENT_WRONG_TOKEN', `expected a token for a ${kind}, got one for a ${tokenKind}`)
  await refuseSecond(dir)
  // Whoever answers this is not known yet; only the pin decides what becomes of the answer.
  const shown = await getText(new URL('/api/v1/authorities', url), { rejectUnauthorized: false }, signal)
  const rootPem = verifyPinnedRoot(shown, rootHash)
  const siteId = siteOf(rootPem)
  const { requestPem, privateKeyPem } = await createIdentityKey()
  const answer = await postJson(
    new URL('/api/v1/enrol', url),
    { token, request: requestPem },
    enrolAnswer,
    clientTls(rootPem, { siteId, role: 'site' }),
    signal,
  )
  const identity: AgentIdentity = {
    kind,
    id: answer.id,
    siteId,
    agentUrl: answer.agentUrl,
    rootPem,
    chainPem: answer.certificate,
    privateKeyPem,
    ...(kind === 'endpoint' ? trustedReleases(answer) : {}),
  }
  checkCertificate(identity)
  await writeIdentity(dir, identity)
  return identity
}

/** Told over the connection that the token's pin has proven: later words of the site do not change it (I4). */
function trustedReleases({
  directorKey,
  releaseRoot,
}: z.infer<typeof enrolAnswer>): Pick<AgentIdentity, 'directorKey' | 'releaseRoot'> {
  return { directorKey, ...(releaseRoot === undefined ? {} : { releaseRoot }) }
}

/**
 * A certificate that the site sent must be for this agent and its key.
 *
 * @throws {AgentError} AGENT_WRONG_CERTIFICATE
 */
export function checkCertificate({ kind, id, siteId, chainPem, privateKeyPem }: AgentIdentity): void {
  const leaf = new X509Certificate(chainPem)
  const found = identityOf(leaf.raw, siteId)
  if (found.role !== kind || found.id !== id)
    throw new AgentError(
      'AGENT_WRONG_CERTIFICATE',
      `expected a certificate for ${kind} ${id}, got one for ${found.role} ${found.id}`,
    )
  if (!leaf.checkPrivateKey(createPrivateKey(privateKeyPem)))
    throw new AgentError('AGENT_WRONG_CERTIFICATE', 'the certificate is for another key')
}

async function refuseSecond(dir: string): Promise<void> {
  const existing = await readIdentity(dir).catch((error: unknown) => {
    if (error instanceof AgentError && error.code === 'AGENT_NOT_ENROLLED') return undefined
    throw error
  })
  if (existing !== undefined)
    throw new AgentError(
      'AGENT_ENROLLED_ALREADY',
      `${dir} holds the identity of ${existing.kind} ${existing.id}`,
      {
        remedy: 'Use another folder, or remove this one when the old identity is no longer wanted.',
      },
    )
}

/** The trust domain that a root of ours names; `identityOf` reads leaves only. */
function siteOf(rootPem: string): string {
  const names = new X509Certificate(rootPem).subjectAltName ?? ''
  const [, siteId] = /^URI:spiffe:\/\/([a-z0-9-]{1,64})$/.exec(names) ?? []
  if (siteId !== undefined) return siteId
  throw new AgentError('AGENT_WRONG_CERTIFICATE', 'the root certificate of the site names no site')
}
