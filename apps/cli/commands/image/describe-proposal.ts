import { hash } from 'node:crypto'
import type { ProposalDetail } from '#core/api/releases.ts'
import { decodeManifest } from '#core/artifact/index.ts'
import { decodeAnyMetadata, type Metadata, ReleaseError } from '#core/release/index.ts'
import { CliError } from '../../cli-error.ts'
import { describeRelease } from './describe-release.ts'
import { rootLines, targetsLines } from './describe-roles.ts'
import type { Meant } from './site-releases.ts'

/** What a person is about to sign. */
export interface Described {
  /** The very bytes that are signed, decoded. */
  readonly metadata: Metadata
  /** What they say, for people. */
  readonly lines: readonly string[]
  /** The release that is added, and the newest one before it. */
  readonly added?: Release | undefined
  readonly previous?: Release | undefined
}

/** A release as metadata lists it. */
export interface Release {
  /** `NAME/VERSION` */
  readonly path: string
  /** `NAME/VERSION` by which its image was made: another after a rollback. */
  readonly content: string
  readonly counter: number
  /** SHA-256, hexadecimal. */
  readonly manifestDigest: string
}

/**
 * Says what proposed metadata means, from the bytes that are signed, compared with what the release keys have signed
 * before. Of what the site says nothing is believed: a manifest is shown if its digest is in signed bytes, and what the
 * site calls published must be what was verified.
 *
 * INVARIANT I4: everything in the proposal that is not in `verified` is shown or refused.
 *
 * @param meant what the person wants to sign
 * @param verified the role's metadata as published, verified by this account itself; undefined when nothing is
 * @throws {CliError} CLI_OTHER_PROPOSAL when the bytes are about something else; {ReleaseError} RELEASE_MISMATCH when the
 *   site shows something else as published, RELEASE_…; {ArtifactError}
 */
export function describeProposal(
  meant: Meant,
  detail: ProposalDetail,
  verified: Uint8Array | undefined,
): Described {
  const metadata = decodeAnyMetadata(Buffer.from(detail.metadata, 'base64url'))
  const isOwn = ['root', 'targets'].includes(meant.role)
    ? metadata.kind === meant.role
    : metadata.kind === 'family'
  if (!isOwn) throw otherProposal(`${metadata.kind} metadata`, meant)
  requireVerified(meant.role, decode(detail.published), verified)
  const before = verified && decodeAnyMetadata(verified)
  const { version, expires } = metadata.signed
  const said = saidBy(meant, metadata, before, detail)
  // Who accepts a version accepts none below it ever again: one that is far ahead leaves no room for what must follow.
  const next = (before?.signed.version ?? 0) + 1
  if (version !== next) throw otherProposal(`version ${version} in the place of ${next}`, meant)
  return {
    metadata,
    ...said,
    lines: [`${meant.role}, version ${version}, good until ${expires}`, ...said.lines],
  }
}

function saidBy(
  meant: Meant,
  metadata: Metadata,
  before: Metadata | undefined,
  detail: ProposalDetail,
): Omit<Described, 'metadata'> {
  if (metadata.kind === 'root') {
    return { lines: rootLines(metadata.signed, before?.kind === 'root' ? before.signed : undefined) }
  }
  if (metadata.kind === 'targets') {
    return { lines: targetsLines(metadata.signed, before?.kind === 'targets' ? before.signed : undefined) }
  }
  if (metadata.kind === 'family') {
    return familyOf(meant, metadata.signed, before?.kind === 'family' ? before.signed : undefined, detail)
  }
  // The site's own roles: nobody is asked to sign them.
  throw otherProposal(`${metadata.kind} metadata`, meant)
}

/** A site that shows signers something else as published than endpoints is either changing just now, or lying. */
function requireVerified(role: string, said: Uint8Array | undefined, verified: Uint8Array | undefined): void {
  if (said === undefined && verified === undefined) return
  if (said !== undefined && verified !== undefined && Buffer.compare(said, verified) === 0) return
  const unsigned = releasesOf(said).filter(
    (one) => !releasesOf(verified).some((other) => JSON.stringify(other) === JSON.stringify(one)),
  )
  const claims = unsigned.map(
    ({ path, counter, manifestDigest }) => `${path}, number ${counter}, sha256:${manifestDigest}`,
  )
  throw new ReleaseError(
    'RELEASE_MISMATCH',
    `what the site shows as published of ${role} is not what its release keys have signed${
      claims.length === 0 ? '' : `; nobody has signed ${claims.join('; ')}`
    }`,
    {
      remedy:
        'Nothing was signed. Try again in a minute; if it stays, somebody may have taken over the site: ask the other signers.',
    },
  )
}

function releasesOf(bytes: Uint8Array | undefined): readonly Release[] {
  const metadata = bytes && decodeAnyMetadata(bytes)
  if (metadata?.kind !== 'family') return []
  return Object.entries(metadata.signed.targets).map(([path, target]) => releaseOf(path, target))
}

function releaseOf(path: string, { hashes, custom }: Target): Release {
  const { counter, content = path } = custom
  return { path, content, counter, manifestDigest: hashes.sha256 }
}

type Family = Metadata<'family'>['signed']
type Target = Family['targets'][string]

function familyOf(
  { role, version }: Meant,
  { targets }: Family,
  before: Family | undefined,
  { manifest, previousManifest }: ProposalDetail,
): Omit<Described, 'metadata'> {
  const old = before?.targets ?? {}
  const paths = Object.keys(targets)
  const newPaths = paths.filter((path) => !Object.hasOwn(old, path))
  const changed = paths.filter(
    (path) => Object.hasOwn(old, path) && JSON.stringify(old[path]) !== JSON.stringify(targets[path]),
  )
  const gone = Object.keys(old).filter((path) => !Object.hasOwn(targets, path))
  if (!paths.every((path) => path.startsWith(`${role}/`)))
    throw otherProposal('another image', { role, version })
  // INVARIANT: nobody signs a release that was changed afterwards.
  if (changed.length > 0) throw otherProposal(`a changed ${changed.join(', ')}`, { role, version })
  const wanted = version === undefined ? [] : [`${role}/${version}`]
  if (newPaths.join() !== wanted.join()) {
    throw otherProposal(newPaths.length === 0 ? 'no new release' : newPaths.join(', '), { role, version })
  }
  const [path = ''] = newPaths
  const target = targets[path]
  const added = target && releaseOf(path, target)
  const [previous] = Object.entries(old)
    .map(([path, target]) => releaseOf(path, target))
    .toSorted((a, b) => b.counter - a.counter)
  const next = (previous?.counter ?? 0) + 1
  // As with versions; and without the newest the counter that it carries would be given to another.
  if (added !== undefined && added.counter !== next) {
    throw otherProposal(`${path} as number ${added.counter} in the place of ${next}`, { role, version })
  }
  if (previous !== undefined && gone.includes(previous.path)) {
    throw otherProposal(`without ${previous.path}, the newest release`, { role, version })
  }
  return {
    added,
    previous,
    lines: [
      ...(added === undefined
        ? []
        : releaseLines(added, decode(manifest), previous, decode(previousManifest))),
      ...gone.map((path) => `  retired       ${path}`),
      `  releases      ${paths.length} in all`,
    ],
  }
}

function releaseLines(
  { path, content, counter, manifestDigest }: Release,
  manifest: Uint8Array | undefined,
  previous: Release | undefined,
  previousManifest: Uint8Array | undefined,
): readonly string[] {
  const isShown = manifest !== undefined && hash('sha256', manifest) === manifestDigest
  if (isShown) requireOwnManifest(content, manifest)
  const isPrevious =
    previousManifest !== undefined && hash('sha256', previousManifest) === previous?.manifestDigest
  return [
    `  release       ${path}, number ${counter}${content === path ? '' : `: again the image of ${content}`}`,
    `  manifest      sha256:${manifestDigest}`,
    ...(isShown
      ? describeRelease(manifest, isPrevious ? previousManifest : undefined)
      : ['  The site does not show the manifest with this digest: compare it yourself, or do not sign.']),
  ]
}

/** A manifest calls itself by the version under which its image was made. */
function requireOwnManifest(path: string, manifest: Uint8Array): void {
  const { name, version } = decodeManifest(manifest)
  if (`${name}/${version}` !== path) {
    const [role = '', wanted] = path.split('/')
    throw otherProposal(`the image ${name}:${version}`, { role, version: wanted })
  }
}

function decode(text: string | undefined): Uint8Array | undefined {
  return text === undefined ? undefined : Buffer.from(text, 'base64url')
}

function otherProposal(got: string, { role, version }: Meant): CliError {
  const wanted = version === undefined ? role : `${role}:${version}`
  return new CliError('CLI_OTHER_PROPOSAL', `expected to sign ${wanted}, what awaits signatures is ${got}`, {
    remedy:
      'Nothing was signed. See what awaits signatures, or ask an admin for it: trustcast image releases',
  })
}
