import { randomBytes } from 'node:crypto'
import { depositImageKey, imageKey } from '#adapters/store-postgres/index.ts'
import { keyIdOf } from '#core/artifact/image-key.ts'
import type { AuditActor } from '#core/audit/leaf.ts'
import { decryptImageKey, encryptImageKey, type SealedFor, sealImageKey } from '#core/lease/index.ts'
import type { Site } from '../site.ts'
import { SiteError } from '../site-error.ts'
import { changeReleases } from './release-turns.ts'

/** Keys of image families: deposited once, given out only sealed to an endpoint under a lease. */

/**
 * @param key 32 bytes
 * @returns the key's id, which says nothing about it
 * @throws {SiteError} CONFLICT when the image has another key
 */
export async function depositKey(
  site: Site,
  name: string,
  key: Uint8Array,
  actor: AuditActor,
): Promise<string> {
  const keyId = keyIdOf(key)
  return changeReleases(site, async (tx) => {
    const known = await imageKey(tx, name)
    if (known !== undefined && known.key_id !== keyId) {
      throw new SiteError('CONFLICT', `the image ${name} has another key already`, {
        remedy: 'Import with the key that its versions share, or under another name.',
      })
    }
    const change = { change: 'image key deposited', image: name, keyId }
    await site.audit.record('admin-change', actor, name, change)
    await depositImageKey(tx, {
      name,
      key_id: keyId,
      sealed: encryptImageKey(site.imageSecret, name, key, randomBytes(12)),
      deposited_at: new Date(site.now()),
    })
    return keyId
  })
}

/**
 * The key of an image, sealed for one lease.
 *
 * @param sealKey X25519 public key of the endpoint
 * @throws {SiteError} CONFLICT when the site has no key of the image
 * @throws {LeaseError} LEASE_SECRET_UNUSABLE
 */
export async function sealKeyFor(
  site: Site,
  name: string,
  sealKey: Uint8Array,
  sealedFor: SealedFor,
): Promise<{ readonly keyId: string; readonly sealed: string }> {
  return withImageKey(site, name, async (key, keyId) => {
    const sealed = await sealImageKey(sealKey, key, sealedFor)
    return { keyId, sealed: Buffer.from(sealed).toString('base64url') }
  })
}

/**
 * Lends the key of an image: it is zeros afterwards.
 *
 * @throws {SiteError} CONFLICT when the site has no key of the image
 * @throws {LeaseError} LEASE_SECRET_UNUSABLE
 */
export async function withImageKey<Result>(
  site: Site,
  name: string,
  use: (key: Uint8Array, keyId: string) => Result | Promise<Result>,
): Promise<Result> {
  const row = await imageKey(site.store.db, name)
  if (row === undefined)
    throw new SiteError('CONFLICT', `the key of image ${name} was not deposited with this site`, {
      remedy: 'Ask an admin to deposit it.',
    })
  const key = decryptImageKey(site.imageSecret, name, row.sealed)
  try {
    return await use(key, row.key_id)
  } finally {
    key.fill(0)
  }
}
