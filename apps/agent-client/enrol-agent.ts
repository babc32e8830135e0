import { createPrivateKey, X509Certificate } from 'node:crypto'
import type { z } from 'zod'
import {
  clientTls,
  createIdentityKey,
  identityOf,
  parseToken,
  verifyPinnedRoot,
} from '#adapters/pki-x509/index.ts'
import { type EnrolRequest, enrolAnswer } from '#core/api/admin.ts'
import { AgentError } from './agent-error.ts'
import { type AgentIdentity, requireKeepable, writeIdentity } from './agent-identity.ts'
import { forgetIdentity, forgetTpmKey, requireReplaceable } from './earlier-identity.ts'
import { proveTpm, type TpmChoice } from './enrol-tpm.ts'
import { proveFormer } from './prove-former.ts'
import { getText, postJson } from './request-json.ts'

export type { TpmChoice } from './enrol-tpm.ts'

export interface Enrolment {
  /** Where people reach the site. */
  readonly url: string
  /** Single-use, from the console; it pins the site's root certificate. */
  readonly token: string
  /** Gets the identity; made when missing. */
  readonly dir: string
  readonly kind: AgentIdentity['kind']
  /** Of an endpoint; a file unless said otherwise. */
  readonly tpm?: TpmChoice
  /** Told what a person should know, such as why a TPM is not used. */
  readonly note?: (text: string) => void
}

/**
 * Makes this machine a host, gateway or endpoint of a site. In a folder whose identity at the same site is over the new one takes its
 * place, proves to the site which one it was, and all else stays.
 *
 * The private key is made here and stays here. The site is believed only once it has shown the root certificate that
 * the token names, and then proven a certificate under it; before that it gets no secret.
 *
 * @throws {AgentError} AGENT_ENROLLED_ALREADY, AGENT_HOST_SECRET_UNSAFE, AGENT_WRONG_TOKEN, AGENT_WRONG_CERTIFICATE, AGENT_SITE_AWAY, AGENT_SITE_REFUSED, AGENT_SITE_MALFORMED
 * @throws {PkiError} PKI_BAD_TOKEN, PKI_PIN_MISMATCH, PKI_WRONG_PEER
 * @throws {TpmDeviceError} when the TPM that was asked for does not do its part
 */
export async function enrolAgent(enrolment: Enrolment, signal?: AbortSignal): Promise<AgentIdentity> {
  const { url, token, dir, kind } = enrolment
  const { kind: tokenKind, rootHash } = parseToken(token)
  if (tokenKind !== kind)
    throw new AgentError('AGENT_WRONG_TOKEN', `expected a token for a ${kind}, got one for a ${tokenKind}`)
  const earlier = await requireReplaceable(dir, { kind, rootHash }, signal)
  await requireKeepable(dir, kind)
  const { rootPem, siteId, tls } = await proveSite(url, rootHash, signal)
  const { requestPem, privateKeyPem } = await createIdentityKey()
  const ask = { url, tls, token, request: requestPem }
  const choice = kind === 'endpoint' ? (enrolment.tpm ?? 'none') : 'none'
  const proven = await proveTpm(choice, ask, enrolment.note ?? (() => undefined), signal)
  const activation = proven === undefined ? {} : { activation: proven.activation }
  const formerly = earlier === undefined ? undefined : await proveFormer(earlier, requestPem, signal)
  const body: EnrolRequest = { token, request: requestPem, ...activation, ...(formerly && { formerly }) }
  try {
    const answer = await postJson(new URL('/api/v1/enrol', url), body, enrolAnswer, tls, signal)
    const identity: AgentIdentity = {
      kind,
      id: answer.id,
      siteId,
      agentUrl: answer.agentUrl,
      siteUrl: new URL(url).origin,
      rootPem,
      chainPem: answer.certificate,
      privateKeyPem,
      ...(kind === 'endpoint' ? trustedReleases(answer) : {}),
      ...(proven === undefined ? {} : { tpm: proven.place }),
    }
    checkCertificate(identity)
    await forgetIdentity(dir)
    await writeIdentity(dir, identity)
    await forgetTpmKey(earlier, identity)
    return identity
  } catch (error) {
    await proven?.undo()
    throw error
  }
}

/** A site that has shown its root and proven a certificate under it. */
export interface ProvenSite {
  readonly rootPem: string
  readonly siteId: string
  /** For further connections to it. */
  readonly tls: ReturnType<typeof clientTls>
}

/**
 * Fetches a site's root certificate; each connection with what this gives proves that the site has one under it.
 *
 * @param rootHash SHA-256 of the root's DER, from somebody who knows it
 * @throws {AgentError} AGENT_SITE_AWAY, AGENT_WRONG_CERTIFICATE
 * @throws {PkiError} PKI_PIN_MISMATCH
 */
export async function proveSite(
  url: string,
  rootHash: Uint8Array,
  signal?: AbortSignal,
): Promise<ProvenSite> {
  // Whoever answers this is not known yet; only the pin decides what becomes of the answer.
  const shown = await getText(new URL('/api/v1/authorities', url), { rejectUnauthorized: false }, signal)
  const rootPem = verifyPinnedRoot(shown, rootHash)
  const siteId = siteOf(rootPem)
  return { rootPem, siteId, tls: clientTls(rootPem, { siteId, role: 'site' }) }
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

/** The trust domain that a root of ours names; `identityOf` reads leaves only. */
function siteOf(rootPem: string): string {
  const names = new X509Certificate(rootPem).subjectAltName ?? ''
  const [, siteId] = /^URI:spiffe:\/\/([a-z0-9-]{1,64})$/.exec(names) ?? []
  if (siteId !== undefined) return siteId
  throw new AgentError('AGENT_WRONG_CERTIFICATE', 'the root certificate of the site names no site')
}
