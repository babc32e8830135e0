import { ReleaseError } from './errors.ts'
import { keyIdOf, type TufKey } from './keys.ts'
import {
  commonFields,
  decodeMetadata,
  encodeUnsigned,
  keyTable,
  type RootSigned,
  type TargetsSigned,
} from './metadata.ts'
import { checkImageName } from './names.ts'

const day = 24 * 60 * 60 * 1000

/** How long metadata is good for when nobody says otherwise, ms. */
export const defaultLifetimes = {
  root: 365 * day,
  targets: 182 * day,
  family: 182 * day,
  snapshot: 7 * day,
  timestamp: day,
} as const

/** Keys of which `threshold` must sign. */
export interface KeySet {
  readonly keys: readonly TufKey[]
  readonly threshold: number
}

export interface RootProposal {
  /** The root that this one follows, as published; undefined for the first. */
  readonly current?: Uint8Array | undefined
  /** Who signs the next root. */
  readonly root: KeySet
  /** Who says which keys sign the releases of which image. */
  readonly targets: KeySet
  /** The site's own keys, which only say what is current. */
  readonly snapshot: TufKey
  readonly timestamp: TufKey
  readonly expiresAtMs: number
}

/**
 * The next version of the root, unsigned (TUF 1.0, sections 4.3 and 6.1). It takes effect when the threshold of the
 * root before it and its own have signed it.
 *
 * @throws {ReleaseError} RELEASE_MALFORMED, RELEASE_BAD_KEY, RELEASE_BAD_THRESHOLD
 */
export function proposeRoot(proposal: RootProposal): Uint8Array {
  const { current, root, targets, snapshot, timestamp, expiresAtMs } = proposal
  const version = current === undefined ? 1 : decodeMetadata('root', current).signed.version + 1
  const signed: RootSigned = {
    _type: 'root',
    ...commonFields(version, expiresAtMs),
    consistent_snapshot: true,
    keys: keyTable([...root.keys, ...targets.keys, snapshot, timestamp]),
    roles: {
      root: roleOf(root),
      targets: roleOf(targets),
      snapshot: roleOf({ keys: [snapshot], threshold: 1 }),
      timestamp: roleOf({ keys: [timestamp], threshold: 1 }),
    },
  }
  return encodeUnsigned('root', signed)
}

export interface FamilyProposal extends KeySet {
  /** `targets` as published; undefined for the first. */
  readonly current?: Uint8Array | undefined
  /** The image. */
  readonly name: string
  readonly expiresAtMs: number
}

/**
 * The next version of `targets`, unsigned, in which these keys sign the releases of one image. Others stay as they are.
 *
 * @throws {ReleaseError} RELEASE_BAD_NAME, RELEASE_MALFORMED, RELEASE_BAD_KEY, RELEASE_BAD_THRESHOLD
 */
export function proposeFamily({ current, name, expiresAtMs, ...keySet }: FamilyProposal): Uint8Array {
  const before = current === undefined ? undefined : decodeMetadata('targets', current).signed
  const others = before?.delegations.roles.filter((role) => role.name !== name) ?? []
  const roles = [
    ...others,
    {
      ...roleOf(keySet),
      name: checkImageName(name),
      paths: [`${name}/*`],
      terminating: true as const,
    },
  ].toSorted((a, b) => (a.name < b.name ? -1 : 1))
  const known = { ...before?.delegations.keys, ...keyTable(keySet.keys) }
  const used = new Set(roles.flatMap(({ keyids }) => keyids))
  const signed: TargetsSigned = {
    _type: 'targets',
    ...commonFields((before?.version ?? 0) + 1, expiresAtMs),
    targets: {},
    delegations: { keys: Object.fromEntries(Object.entries(known).filter(([id]) => used.has(id))), roles },
  }
  return encodeUnsigned('targets', signed)
}

/**
 * The next version of `targets` or of an image's releases, unsigned, that says the same for longer: before its time is
 * up, or to have it signed by other keys after a rotation.
 *
 * @throws {ReleaseError} RELEASE_MALFORMED
 */
export function proposeRenewal(
  kind: 'targets' | 'family',
  current: Uint8Array,
  expiresAtMs: number,
): Uint8Array {
  const { signed } = decodeMetadata(kind, current)
  return encodeUnsigned(kind, { ...signed, ...commonFields(signed.version + 1, expiresAtMs) })
}

function roleOf({ keys, threshold }: KeySet): { keyids: string[]; threshold: number } {
  // The same person twice must not be two of three.
  const keyids = [...new Set(keys.map(keyIdOf))]
  if (threshold < 1 || threshold > keyids.length) {
    throw new ReleaseError(
      'RELEASE_BAD_THRESHOLD',
      `expected a threshold from 1 to ${keyids.length}, the number of different keys, got ${threshold}`,
      { remedy: 'Name as many keys as must sign, better one more.' },
    )
  }
  return { keyids, threshold }
}
