import { ReleaseError } from './errors.ts'
import { isSignedBy, keyIdOf, keyLabel, type ReleaseSigner, type TufKey } from './keys.ts'
import {
  decodeAnyMetadata,
  decodeMetadata,
  encodeMetadata,
  type Metadata,
  type MetadataKind,
  type RootSigned,
  type Signature,
  signedBytes,
  type TargetsSigned,
} from './metadata.ts'

/** Who signs a role, and how many of them. Made of verified metadata by `rootRole` and `familyRole`. */
export interface RoleKeys {
  readonly role: string
  readonly threshold: number
  readonly keys: readonly TufKey[]
}

export interface KeyReference {
  readonly keyId: string
  /** Whose key it is, as far as it says. */
  readonly name: string
}

/** How far a role's metadata is signed. */
export interface SignatureState {
  readonly role: string
  readonly threshold: number
  /** Keys of the role that signed these bytes. */
  readonly valid: readonly KeyReference[]
  /** Signatures that are still missing; 0 when the threshold is met. */
  readonly missing: number
  /** Keys of the role that have not signed. */
  readonly waiting: readonly KeyReference[]
  /** Ids of keys that are not of the role, or whose signature is over other bytes: they count for nothing. */
  readonly unknownKeys: readonly string[]
}

declare const verified: unique symbol
/** Metadata that the threshold of its role signed. Only `verifyMetadata` makes it. */
export type Verified<Kind extends MetadataKind> = Metadata<Kind> & { readonly [verified]: true }

/** Who signs one of the four top-level roles (TUF 1.0, section 4.3). */
export function rootRole(root: RootSigned, role: keyof RootSigned['roles']): RoleKeys {
  const { keyids, threshold } = root.roles[role]
  return { role, threshold, keys: keyids.flatMap((id) => root.keys[id] ?? []) }
}

/** Who signs the releases of an image (TUF 1.0, section 4.5); undefined when nobody was named. */
export function familyRole(targets: TargetsSigned, name: string): RoleKeys | undefined {
  const { keys, roles } = targets.delegations
  const delegation = roles.find((role) => role.name === name)
  if (delegation === undefined) return undefined
  const { threshold, keyids } = delegation
  return { role: name, threshold, keys: keyids.flatMap((id) => keys[id] ?? []) }
}

/**
 * Adds one signature, or replaces the one that this key made before.
 *
 * @param bytes metadata; what it says is signed as it stands
 * @throws {ReleaseError} RELEASE_MALFORMED; RELEASE_BAD_SIGNATURE when the signer's own key does not verify it
 */
export async function addSignature(bytes: Uint8Array, signer: ReleaseSigner): Promise<Uint8Array> {
  const metadata = decodeAnyMetadata(bytes)
  return encodeMetadata(withSignature(metadata, await signMetadata(metadata, signer)))
}

/**
 * Makes a signature without adding it: what a person sends to the site.
 *
 * @throws {ReleaseError} RELEASE_BAD_SIGNATURE
 */
export async function signMetadata(metadata: Metadata, signer: ReleaseSigner): Promise<Signature> {
  const message = signedBytes(metadata)
  const signature = await signer.sign(message)
  if (!isSignedBy(signer.publicKey, message, signature)) {
    throw new ReleaseError(
      'RELEASE_BAD_SIGNATURE',
      `the key ${signer.keyId} does not verify what it signed`,
      {
        remedy: 'The token or file holds another key than it says. Do not use it.',
      },
    )
  }
  return { keyid: signer.keyId, sig: Buffer.from(signature).toString('hex') }
}

/**
 * Takes a signature that somebody sent, if it is of a key of one of these roles and over these bytes.
 *
 * @param signature untrusted
 * @throws {ReleaseError} RELEASE_MALFORMED, RELEASE_UNKNOWN_KEY, RELEASE_BAD_SIGNATURE
 */
export function attachSignature(
  bytes: Uint8Array,
  signature: Signature,
  roles: readonly RoleKeys[],
): Uint8Array {
  const metadata = decodeAnyMetadata(bytes)
  const key = roles.flatMap(({ keys }) => keys).find((candidate) => keyIdOf(candidate) === signature.keyid)
  if (key === undefined) {
    const names = roles.map(({ role }) => role).join(' and ')
    throw new ReleaseError(
      'RELEASE_UNKNOWN_KEY',
      `the key ${signature.keyid} is not one that signs ${names}`,
      {
        remedy: 'Sign with a key that was named for it, or have this one named first.',
      },
    )
  }
  if (!isSignedBy(key, signedBytes(metadata), Buffer.from(signature.sig, 'hex'))) {
    throw new ReleaseError('RELEASE_BAD_SIGNATURE', `the signature of ${keyLabel(key)} is over other bytes`, {
      remedy: 'Fetch what is to be signed again: it may have been replaced meanwhile.',
    })
  }
  return encodeMetadata(withSignature(metadata, signature))
}

/** How far metadata is signed for one role. A root that follows another needs both roots' thresholds: ask for each. */
export function signatureState(bytes: Uint8Array, role: RoleKeys): SignatureState {
  return stateOf(decodeAnyMetadata(bytes), role)
}

/**
 * Verifies that the threshold of a role signed exactly these bytes, and only then says what they mean.
 *
 * Spec: TUF 1.0, sections 5.3.4, 5.4.2, 5.5.3 and 5.6.3
 *
 * @param bytes untrusted
 * @param roles all of which must agree
 * @throws {ReleaseError} RELEASE_MALFORMED, RELEASE_BAD_KEY, RELEASE_BAD_THRESHOLD, RELEASE_BELOW_THRESHOLD
 */
export function verifyMetadata<Kind extends MetadataKind>(
  kind: Kind,
  bytes: Uint8Array,
  ...roles: readonly [RoleKeys, ...RoleKeys[]]
): Verified<Kind> {
  const metadata = decodeMetadata(kind, bytes)
  for (const role of roles) {
    const state = stateOf(metadata as Metadata, role)
    if (state.missing > 0) throw belowThreshold(state)
  }
  return metadata as Verified<Kind>
}

function stateOf(metadata: Metadata, role: RoleKeys): SignatureState {
  const message = signedBytes(metadata)
  const made = new Map(metadata.signatures.map(({ keyid, sig }) => [keyid, Buffer.from(sig, 'hex')]))
  // By id, because a role that named one key twice must still count it once.
  const byId = new Map(role.keys.map((key) => [keyIdOf(key), key]))
  const valid: KeyReference[] = []
  const waiting: KeyReference[] = []
  for (const [keyId, key] of byId) {
    const signature = made.get(keyId)
    const counts = signature !== undefined && isSignedBy(key, message, signature)
    ;(counts ? valid : waiting).push({ keyId, name: keyLabel(key) })
  }
  const counted = new Set(valid.map(({ keyId }) => keyId))
  return {
    role: role.role,
    threshold: role.threshold,
    valid,
    missing: Math.max(0, role.threshold - valid.length),
    waiting,
    unknownKeys: [...made.keys()].filter((id) => !counted.has(id)),
  }
}

function withSignature(metadata: Metadata, signature: Signature): Metadata {
  const others = metadata.signatures.filter(({ keyid }) => keyid !== signature.keyid)
  return { ...metadata, signatures: [...others, signature] }
}

function belowThreshold({ role, threshold, valid, waiting }: SignatureState): ReleaseError {
  return new ReleaseError(
    'RELEASE_BELOW_THRESHOLD',
    `${role} needs ${threshold} signatures and has ${valid.length}`,
    {
      remedy: `Have it signed by ${threshold - valid.length} more of: ${waiting.map(({ name }) => name).join(', ')}.`,
    },
  )
}
