import { createHash, sign } from 'node:crypto'
import type { FormerIdentity } from '#core/api/device-keys.ts'
import { successionStatement } from '#core/identity/succession-statement.ts'
import { requestHash } from '#core/tpm/index.ts'
import type { AgentIdentity } from './agent-identity.ts'
import { quoteOver } from './quote-over.ts'

/**
 * Proves that this machine is the one that had an identity: what that was to discard lies in the same folder.
 *
 * @param request the certificate request that the machine is enrolled with now
 * @returns undefined when the TPM that it was known by does not quote any more
 */
export async function proveFormer(
  former: AgentIdentity,
  request: string,
  signal?: AbortSignal,
): Promise<FormerIdentity | undefined> {
  const { siteId, id: formerId, chainPem: certificate, privateKeyPem } = former
  const statement = successionStatement({ siteId, formerId, requestHash: requestHash(request) })
  const signature = sign('sha256', statement, privateKeyPem).toString('base64url')
  const quoted = createHash('sha256').update(statement).digest()
  try {
    const attestation = await quoteOver(former, quoted, { withLog: false }, signal)
    return { certificate, signature, ...(attestation === undefined ? {} : { attestation }) }
  } catch (error) {
    if (signal?.aborted === true) throw error
    return undefined
  }
}
