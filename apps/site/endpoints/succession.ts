import { createHash, verify } from 'node:crypto'
import { PkiError, pastIdentityOf } from '#adapters/pki-x509/index.ts'
import { type AgentRow, agentById, evidenceOf, lastEndpointKeys } from '#adapters/store-postgres/index.ts'
import type { FormerIdentity } from '#core/api/device-keys.ts'
import { successionStatement } from '#core/identity/succession-statement.ts'
import { requestHash, TpmError } from '#core/tpm/index.ts'
import type { Site } from '../site.ts'
import { verifyBoot } from './attesting.ts'

/**
 * A machine that is enrolled again is another one to the site, and gets nothing of what it was; but what that has left is in its folder, and what
 * that was to discard it can.
 *
 * INVARIANT: a former identity that is not proven, or that may still be somebody's, moves nothing. It is no reason to refuse either: a machine that cannot
 * prove it, or whose site was put back, is enrolled as any other.
 *
 * @param kind what the machine is enrolled as
 * @param request the certificate request that it is enrolled with
 * @param said untrusted
 * @returns the id that it had
 */
export async function provenFormer(
  site: Site,
  kind: AgentRow['kind'],
  request: string,
  said: FormerIdentity,
): Promise<string | undefined> {
  try {
    const { id, role, publicKey } = pastIdentityOf(said.certificate, site.authority.rootPem, site.siteId)
    const former = await agentById(site.store.db, id)
    if (role !== kind || former?.kind !== kind || !(await isVacant(site, former))) return undefined
    const { siteId } = site
    const statement = successionStatement({ siteId, formerId: id, requestHash: requestHash(request) })
    if (!verify('sha256', statement, publicKey, Buffer.from(said.signature, 'base64url'))) return undefined
    const key = publicKey.export({ format: 'der', type: 'spki' })
    if (kind === 'endpoint' && !(await isEndpointsOwn(site, former, key))) return undefined
    requireQuote(former, said, statement)
    return id
  } catch (error) {
    if (error instanceof PkiError || error instanceof TpmError) return undefined
    throw error
  }
}

/** It is over, and no machine that came here has proven to have been it. */
async function isVacant(site: Site, former: AgentRow): Promise<boolean> {
  const { revoked_at, certificate_expires_at: end, succeeded_by } = former
  if (revoked_at === null && end.getTime() > site.now()) return false
  const heir = succeeded_by === null ? undefined : await agentById(site.store.db, succeeded_by)
  return heir?.last_seen_at == null
}

/** What was copied before the last renewal is worth nothing, nor is what was seen on two machines. */
async function isEndpointsOwn({ store }: Site, { id }: AgentRow, key: Buffer): Promise<boolean> {
  const isLast = (await lastEndpointKeys(store.db, id)).some(({ public_key: last }) => last.equals(key))
  return isLast && (await evidenceOf(store.db, id))?.forked_at == null
}

/** @throws {TpmError} */
function requireQuote(
  { name, device_key, ak_public }: AgentRow,
  said: FormerIdentity,
  statement: Buffer,
): void {
  if (device_key !== 'tpm' || ak_public === null) return
  if (said.attestation === undefined)
    throw new TpmError('TPM_ATTESTATION_MISSING', `endpoint ${name} was known by its TPM`)
  verifyBoot(ak_public, said.attestation, createHash('sha256').update(statement).digest())
}
