import { hash } from 'node:crypto'
import type { AuditData } from '#core/audit/leaf.ts'
import { changedReleases, decodeAnyMetadata, type ListedRelease } from '#core/release/index.ts'
import { encodeMetadata, type Metadata } from '#core/release/metadata.ts'

/**
 * What the audit log tells of a role's metadata: which it is, and what it says that is not published yet.
 *
 * `digest` is of the metadata without its signatures, so that what was proposed, signed and published is known to be the same.
 *
 * @param published the role's metadata before it
 */
export function entryOf(
  role: string,
  bytes: Uint8Array,
  published: Uint8Array | undefined,
): { readonly [name: string]: AuditData } {
  const metadata = decodeAnyMetadata(bytes)
  return {
    role,
    version: metadata.signed.version,
    digest: hash('sha256', encodeMetadata({ ...metadata, signatures: [] })),
    ...changesOf(role, metadata, bytes, published),
  }
}

function changesOf(
  role: string,
  metadata: Metadata,
  bytes: Uint8Array,
  published: Uint8Array | undefined,
): { readonly [name: string]: AuditData } {
  if (metadata.kind === 'family') {
    const { added, retired } = changedReleases(role, published, bytes)
    return { added: added.map(toldOf), retired: retired.map(toldOf) }
  }
  if (metadata.kind !== 'root' && metadata.kind !== 'targets') return {}
  const before = published === undefined ? [] : signersIn(decodeAnyMetadata(published))
  const same = new Set(before.map((one) => JSON.stringify(one)))
  return { signers: signersIn(metadata).filter((one) => !same.has(JSON.stringify(one))) }
}

/** Who signs what. */
function signersIn(metadata: Metadata): readonly { readonly [name: string]: AuditData }[] {
  if (metadata.kind === 'root') {
    return Object.entries(metadata.signed.roles).map(([role, { threshold, keyids }]) => ({
      role,
      threshold,
      keyIds: keyids,
    }))
  }
  if (metadata.kind !== 'targets') return []
  return metadata.signed.delegations.roles.map(({ name, threshold, keyids }) => ({
    role: name,
    threshold,
    keyIds: keyids,
  }))
}

function toldOf({ version, contentVersion, counter, manifestDigest }: ListedRelease): AuditData {
  return { version, contentVersion, counter, manifestDigest }
}
