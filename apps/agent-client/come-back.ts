import { createHash, sign } from 'node:crypto'
import { clientTls } from '#adapters/pki-x509/index.ts'
import { renewAnswer } from '#core/api/admin.ts'
import { renewalNonceAnswer } from '#core/api/device-keys.ts'
import { renewalStatement } from '#core/identity/renewal-statement.ts'
import { isRefusal } from './agent-error.ts'
import { type AgentIdentity, writeIdentity } from './agent-identity.ts'
import { checkCertificate } from './enrol-agent.ts'
import { waitingKey } from './next-key.ts'
import { quoteOver } from './quote-over.ts'
import { postJson } from './request-json.ts'

/**
 * Fetches a certificate for the key that there is, after the last one has ended: from the port for people, which asks for none, by a proof
 * of that key, and of the TPM, over a nonce of the site. Where the answer to a renewal was lost, the key that it was for is the site's last.
 *
 * @param url where people reach the site
 * @throws {AgentError} AGENT_WRONG_CERTIFICATE, AGENT_SITE_AWAY, AGENT_SITE_REFUSED, AGENT_SITE_MALFORMED
 * @throws {TpmDeviceError}
 */
export async function comeBack(
  dir: string,
  identity: AgentIdentity,
  url: string,
  signal?: AbortSignal,
): Promise<AgentIdentity> {
  const back = await certified(identity, url, signal).catch(async (refused: unknown) => {
    const privateKeyPem = isRefusal(refused) ? await waitingKey(dir, identity) : undefined
    if (privateKeyPem === undefined) throw refused
    return certified({ ...identity, privateKeyPem }, url, signal).catch((error: unknown) => {
      throw isRefusal(error) ? refused : error
    })
  })
  await writeIdentity(dir, back)
  return back
}

/** @returns the identity with a new certificate for its key */
async function certified(
  identity: AgentIdentity,
  url: string,
  signal: AbortSignal | undefined,
): Promise<AgentIdentity> {
  const { id: endpointId, siteId, rootPem, privateKeyPem } = identity
  const tls = clientTls(rootPem, { siteId, role: 'site' })
  const nonces = new URL('/api/v1/renewals/nonces', url)
  const { nonce } = await postJson(nonces, { endpointId }, renewalNonceAnswer, tls, signal)
  const statement = renewalStatement({ siteId, endpointId, nonce })
  const quoted = createHash('sha256').update(statement).digest()
  const attestation = await quoteOver(identity, quoted, { withLog: false }, signal)
  const { certificate } = await postJson(
    new URL('/api/v1/renewals', url),
    {
      endpointId,
      nonce,
      signature: sign('sha256', statement, privateKeyPem).toString('base64url'),
      ...(attestation === undefined ? {} : { attestation }),
    },
    renewAnswer,
    tls,
    signal,
  )
  const back = { ...identity, chainPem: certificate }
  checkCertificate(back)
  return back
}
