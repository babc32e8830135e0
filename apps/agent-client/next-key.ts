import { createPrivateKey } from 'node:crypto'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createIdentityKey, type IdentityKey, requestFor } from '#adapters/pki-x509/index.ts'
import { SealedKeyError } from '#core/identity/sealed-key.ts'
import type { AgentIdentity } from './agent-identity.ts'
import { openOnHost, sealOnHost } from './host-seal.ts'
import { makeFile } from './make-file.ts'

/**
 * The key that an endpoint asks its next certificate for. To the site it is the endpoint's last key once it has heard of it, and no other
 * comes back: so it is on the disk before, until it is the identity's own, and an answer that is lost leaves the endpoint with it.
 */

/**
 * Of several processes that ask at once all are given one.
 *
 * @throws {AgentError} AGENT_HOST_SECRET_MISSING, AGENT_HOST_SECRET_UNSAFE
 */
export async function nextKey(dir: string, identity: AgentIdentity): Promise<IdentityKey> {
  const { privateKeyPem } = await createIdentityKey()
  await mkdir(dir, { recursive: true, mode: 0o700 })
  await makeFile(pathIn(dir), await sealOnHost(privateKeyPem, purposeOf(identity)))
  const waiting = await waitingKey(dir, identity)
  if (waiting !== undefined) return requestFor(createPrivateKey(waiting))
  await forgetNextKey(dir)
  return nextKey(dir, identity)
}

/**
 * The one that the site may have heard of, and has not answered for.
 *
 * @returns PKCS #8, PEM; undefined where there is none, or none that is of use
 * @throws {AgentError} AGENT_HOST_SECRET_MISSING, AGENT_HOST_SECRET_UNSAFE
 */
export async function waitingKey(dir: string, identity: AgentIdentity): Promise<string | undefined> {
  const text = await readFile(pathIn(dir), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (text === undefined) return undefined
  const key = await openOnHost(text, purposeOf(identity)).catch((error: unknown) => {
    if (error instanceof SealedKeyError) return undefined
    throw error
  })
  // As whoever is killed before it is forgotten leaves it.
  return key === identity.privateKeyPem ? undefined : key
}

export async function forgetNextKey(dir: string): Promise<void> {
  await rm(pathIn(dir), { force: true })
}

function purposeOf({ kind, id }: AgentIdentity): string {
  return `next key of ${kind} ${id}`
}

function pathIn(dir: string): string {
  return join(dir, 'next-key')
}
