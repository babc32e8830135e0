import { hash } from 'node:crypto'
import { ReleaseError } from './errors.ts'
import {
  commonFields,
  decodeMetadata,
  encodeUnsigned,
  type FamilySigned,
  maximumReleases,
  type ReleaseTarget,
} from './metadata.ts'
import { checkImageName, checkVersion, targetPath, versionOfPath } from './names.ts'
import type { Verified } from './signatures.ts'

interface NextRelease {
  /** The image's releases as published; undefined before the first. */
  readonly current?: Uint8Array | undefined
  readonly name: string
  readonly expiresAtMs: number
}

/**
 * The next version of an image's releases, unsigned, with one more: its counter is one above the highest so far.
 *
 * @param manifestBytes the image's manifest, which endpoints compare byte for byte; at most 64 KiB
 * @throws {ReleaseError} RELEASE_BAD_NAME, RELEASE_EXISTS, RELEASE_TOO_MANY, RELEASE_MALFORMED
 */
export function proposeRelease(
  proposal: NextRelease & { readonly version: string; readonly manifestBytes: Uint8Array },
): Uint8Array {
  const { version, manifestBytes } = proposal
  return withRelease(proposal, version, (counter) => ({
    length: manifestBytes.length,
    hashes: { sha256: hash('sha256', manifestBytes) },
    custom: { counter },
  }))
}

/**
 * The next version of an image's releases, unsigned, in which an older image is released anew: under a version of its
 * own and with the next counter, because endpoints never accept a lower one (I4). The bytes are the old manifest's,
 * which still calls itself by its own version; `content` says so, and whoever reads the manifest compares it with that.
 *
 * @param proposal.to the version to go back to; it may itself be a rollback
 * @param proposal.as the version of the new release
 * @throws {ReleaseError} RELEASE_UNKNOWN, RELEASE_BAD_NAME, RELEASE_EXISTS, RELEASE_TOO_MANY, RELEASE_MALFORMED
 */
export function proposeRollback(
  proposal: NextRelease & { readonly current: Uint8Array; readonly to: string; readonly as: string },
): Uint8Array {
  const { current, name, to, as } = proposal
  const from = targetPath(name, to)
  const old = ownTarget(decodeMetadata('family', current).signed, from)
  if (old === undefined) throw unknownRelease(name, to)
  const content = old.custom.content ?? from
  return withRelease(proposal, as, (counter) => ({ ...old, custom: { counter, content } }))
}

/**
 * The next version of an image's releases, unsigned, without one of them. The newest stays: it carries the counter.
 *
 * @throws {ReleaseError} RELEASE_UNKNOWN, RELEASE_COUNTER, RELEASE_MALFORMED
 */
export function retireRelease(
  proposal: NextRelease & { readonly current: Uint8Array; readonly version: string },
): Uint8Array {
  const { current, name, version, expiresAtMs } = proposal
  const before = decodeMetadata('family', current).signed
  const path = targetPath(name, version)
  const retired = ownTarget(before, path)
  if (retired === undefined) throw unknownRelease(name, version)
  if (retired.custom.counter === highestCounter(before)) {
    throw new ReleaseError('RELEASE_COUNTER', `${name}:${version} is the newest release`, {
      remedy: 'Release another version first, or roll back to an older one.',
    })
  }
  const targets = Object.fromEntries(Object.entries(before.targets).filter(([other]) => other !== path))
  return encodeUnsigned('family', {
    ...before,
    ...commonFields(before.version + 1, expiresAtMs),
    targets,
  })
}

/** A release as metadata lists it. */
export interface ListedRelease {
  readonly name: string
  readonly version: string
  /** Which version's image it is: another than `version` after a rollback. The manifest calls itself by this one. */
  readonly contentVersion: string
  readonly counter: number
  /** SHA-256 of the manifest, hexadecimal. */
  readonly manifestDigest: string
  /** Length of the manifest. */
  readonly manifestBytes: number
}

/** What the release keys say of one release. Made of verified metadata only. */
export type SignedRelease = ListedRelease

/** One release of an image; undefined when the release keys did not sign it. */
export function findRelease(
  family: Verified<'family'>,
  name: string,
  version: string,
): SignedRelease | undefined {
  return listReleases(family, name).find((release) => release.version === version)
}

/** All releases of an image, the newest first. */
export function listReleases({ signed }: Verified<'family'>, name: string): readonly SignedRelease[] {
  return listed(signed, name)
}

/** What an image's releases list that those before them do not, and the other way round. Nobody's signature is checked. */
export function changedReleases(
  name: string,
  current: Uint8Array | undefined,
  next: Uint8Array,
): { readonly added: readonly ListedRelease[]; readonly retired: readonly ListedRelease[] } {
  const before = current === undefined ? [] : listed(decodeMetadata('family', current).signed, name)
  const after = listed(decodeMetadata('family', next).signed, name)
  const without = (some: readonly ListedRelease[], others: readonly ListedRelease[]) =>
    some.filter(({ version }) => !others.some((other) => other.version === version))
  return { added: without(after, before), retired: without(before, after) }
}

/** The counter of the newest release; 0 when there is none. */
export function highestCounter({ targets }: FamilySigned): number {
  return Object.values(targets).reduce((highest, { custom }) => Math.max(highest, custom.counter), 0)
}

function listed({ targets }: FamilySigned, name: string): readonly ListedRelease[] {
  return Object.entries(targets)
    .flatMap(([path, target]) => {
      const version = versionOfPath(name, path)
      return version === undefined ? [] : [releaseOf(name, version, target)]
    })
    .toSorted((a, b) => b.counter - a.counter)
}

function releaseOf(name: string, version: string, { length, hashes, custom }: ReleaseTarget): ListedRelease {
  return {
    name,
    version,
    contentVersion: (custom.content && versionOfPath(name, custom.content)) ?? version,
    counter: custom.counter,
    manifestDigest: hashes.sha256,
    manifestBytes: length,
  }
}

function withRelease(
  { current, name, expiresAtMs }: NextRelease,
  version: string,
  make: (counter: number) => ReleaseTarget,
): Uint8Array {
  const before = current === undefined ? undefined : decodeMetadata('family', current).signed
  const path = targetPath(checkImageName(name), checkVersion(version))
  const targets = before?.targets ?? {}
  if (Object.hasOwn(targets, path)) {
    throw new ReleaseError('RELEASE_EXISTS', `${name}:${version} is released already`, {
      remedy: 'A release never changes: give the new one a version of its own.',
    })
  }
  if (Object.keys(targets).length >= maximumReleases) {
    throw new ReleaseError(
      'RELEASE_TOO_MANY',
      `${name} has ${maximumReleases} releases, the most there can be`,
      {
        remedy: 'Retire old releases first.',
      },
    )
  }
  const counter = (before === undefined ? 0 : highestCounter(before)) + 1
  return encodeUnsigned('family', {
    _type: 'targets',
    ...commonFields((before?.version ?? 0) + 1, expiresAtMs),
    targets: { ...targets, [path]: make(counter) },
  })
}

function ownTarget({ targets }: FamilySigned, path: string): ReleaseTarget | undefined {
  return Object.hasOwn(targets, path) ? targets[path] : undefined
}

function unknownRelease(name: string, version: string): ReleaseError {
  return new ReleaseError('RELEASE_UNKNOWN', `${name} has no release ${version}`, {
    remedy: 'See which there are: trustcast image releases',
  })
}
