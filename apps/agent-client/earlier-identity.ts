import { createHash, X509Certificate } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { clientTls, validityOf } from '#adapters/pki-x509/index.ts'
import { openTpm } from '#adapters/tpm/index.ts'
import { SealedKeyError } from '#core/identity/sealed-key.ts'
import { AgentError } from './agent-error.ts'
import { type AgentIdentity, readIdentity, readStored } from './agent-identity.ts'
import { getText } from './request-json.ts'

/**
 * A folder may be given an identity when it holds none, or one of the same kind and site that is over: expired, unknown to the site or revoked
 * there, or of a key that cannot be opened here. What else is in the folder stays, above all the floors.
 *
 * @param next.rootHash SHA-256 of the site's root certificate
 * @returns the identity that gives way, where its key can be opened here
 * @throws {AgentError} AGENT_ENROLLED_ALREADY, AGENT_HOST_SECRET_UNSAFE, AGENT_SITE_AWAY
 */
export async function requireReplaceable(
  dir: string,
  next: { readonly kind: AgentIdentity['kind']; readonly rootHash: Uint8Array },
  signal?: AbortSignal,
): Promise<AgentIdentity | undefined> {
  const earlier = await readStored(dir).catch((error: unknown) => {
    if (error instanceof AgentError && error.code === 'AGENT_NOT_ENROLLED') return undefined
    throw error
  })
  if (earlier === undefined) return undefined
  const { kind, id, rootPem, chainPem } = earlier
  if (kind !== next.kind || !hashOf(rootPem).equals(next.rootHash))
    throw enrolledAlready(
      `${dir} holds the identity of ${kind} ${id}${kind === next.kind ? ' at another site' : ''}`,
      'Name another folder with --state: what this one keeps belongs to the identity in it.',
    )
  const identity = await openedHere(dir)
  const isExpired = validityOf(chainPem).notAfter <= Date.now()
  if (identity !== undefined && !isExpired && (await isLiving(identity, signal)))
    throw enrolledAlready(
      `${dir} holds the identity of ${kind} ${id}, which is good`,
      'Have an admin revoke it first, or name another folder with --state.',
    )
  return identity
}

/** What was said and sealed under an identity is no use to the next. Nothing else is removed. */
export async function forgetIdentity(dir: string): Promise<void> {
  for (const name of ['evidence.json', 'seal-key', 'next-key']) await rm(join(dir, name), { force: true })
}

/** A TPM holds few keys. */
export async function forgetTpmKey(
  earlier: AgentIdentity | undefined,
  { tpm: next }: AgentIdentity,
): Promise<void> {
  const { tpm } = earlier ?? {}
  // A TPM that was cleared meanwhile may have given the new key the same place.
  if (tpm === undefined || tpm.handle === next?.handle) return
  await openTpm(tpm)
    .removeAttestationKey(tpm.handle)
    .catch(() => undefined)
}

const unusable: ReadonlySet<string> = new Set(['AGENT_KEY_DAMAGED', 'AGENT_HOST_SECRET_MISSING'])

async function openedHere(dir: string): Promise<AgentIdentity | undefined> {
  return readIdentity(dir).catch((error: unknown) => {
    if (error instanceof SealedKeyError) return undefined
    if (error instanceof AgentError && unusable.has(error.code)) return undefined
    throw error
  })
}

/** Asked of the site itself, which has proved who it is. */
async function isLiving(identity: AgentIdentity, signal: AbortSignal | undefined): Promise<boolean> {
  const { agentUrl, rootPem, siteId } = identity
  const tls = clientTls(rootPem, { siteId, role: 'site' }, identity)
  try {
    await getText(new URL('/identity', agentUrl), tls, signal)
    return true
  } catch (error) {
    if (error instanceof AgentError && ['NOT_FOUND', 'NOT_ALLOWED'].includes(error.siteCode ?? ''))
      return false
    throw error
  }
}

function hashOf(pem: string): Buffer {
  return createHash('sha256').update(new X509Certificate(pem).raw).digest()
}

function enrolledAlready(message: string, remedy: string): AgentError {
  return new AgentError('AGENT_ENROLLED_ALREADY', message, { remedy })
}
