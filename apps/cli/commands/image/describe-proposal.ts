import { hash } from 'node:crypto'
import type { ProposalDetail } from '#core/api/releases.ts'
import { decodeManifest } from '#core/artifact/index.ts'
import { decodeAnyMetadata, keyIdOf, keyLabel, type Metadata, type TufKey } from '#core/release/index.ts'
import { CliError } from '../../cli-error.ts'
import { describeRelease } from './describe-release.ts'
import type { Meant } from './site-releases.ts'

/** What a person is about to sign. */
export interface Described {
  /** The very bytes that are signed, decoded. */
  readonly metadata: Metadata
  /** What they say, for people. */
  readonly lines: readonly string[]
}

/**
 * Says what proposed metadata means, from the bytes that are signed and from nothing else that the site says. What it is
 * compared with comes from the site, too: a site that lies there can hide that something was released before, but not
 * what the signature makes true from now on.
 *
 * @param meant what the person wants to sign
 * @throws {CliError} CLI_OTHER_PROPOSAL when the bytes are about something else; {ReleaseError} {ArtifactError}
 */
export function describeProposal(meant: Meant, detail: ProposalDetail): Described {
  const metadata = decodeAnyMetadata(Buffer.from(detail.metadata, 'base64url'))
  const published =
    detail.published === undefined ? undefined : decodeAnyMetadata(Buffer.from(detail.published, 'base64url'))
  const before = published !== undefined && published.kind === metadata.kind ? published : undefined
  const head = `${meant.role}, version ${metadata.signed.version}, good until ${metadata.signed.expires}`
  return { metadata, lines: [head, ...linesOf(meant, metadata, before, detail)] }
}

function linesOf(
  meant: Meant,
  metadata: Metadata,
  before: Metadata | undefined,
  detail: ProposalDetail,
): readonly string[] {
  const isOwn = ['root', 'targets'].includes(meant.role)
    ? metadata.kind === meant.role
    : metadata.kind === 'family'
  if (!isOwn) throw otherProposal(`${metadata.kind} metadata`, meant)
  if (metadata.kind === 'root') {
    return rootLines(metadata.signed, before?.kind === 'root' ? before.signed : undefined)
  }
  if (metadata.kind === 'targets') {
    return targetsLines(metadata.signed, before?.kind === 'targets' ? before.signed : undefined)
  }
  if (metadata.kind === 'family') {
    return familyLines(meant, metadata.signed, before?.kind === 'family' ? before.signed : undefined, detail)
  }
  // The site's own roles: nobody is asked to sign them.
  return []
}

type Root = Metadata<'root'>['signed']
type Targets = Metadata<'targets'>['signed']
type Family = Metadata<'family'>['signed']
interface Role {
  readonly keyids: readonly string[]
  readonly threshold: number
}
type Keys = Readonly<Record<string, TufKey>>

function rootLines({ keys, roles }: Root, before: Root | undefined): readonly string[] {
  return Object.entries(roles).flatMap(([name, role]) =>
    roleLines(name, role, keys, before && roleNamed(before.roles, name)),
  )
}

function targetsLines(
  { delegations: { keys, roles } }: Targets,
  before: Targets | undefined,
): readonly string[] {
  const old = before?.delegations.roles ?? []
  const gone = old.filter((role) => !roles.some(({ name }) => name === role.name))
  return [
    ...roles.flatMap((role) =>
      roleLines(
        role.name,
        role,
        keys,
        old.find(({ name }) => name === role.name),
      ),
    ),
    ...gone.map(({ name }) => `  ${name}: NOBODY signs it any more`),
  ]
}

function roleLines(name: string, role: Role, keys: Keys, before: Role | undefined): readonly string[] {
  const isSame =
    before !== undefined &&
    before.threshold === role.threshold &&
    before.keyids.length === role.keyids.length &&
    before.keyids.every((id) => role.keyids.includes(id))
  const lost = before?.keyids.filter((id) => !role.keyids.includes(id)) ?? []
  return [
    `  ${name}: ${role.threshold} of ${role.keyids.length} must sign${isSame ? ', as before' : ''}`,
    ...role.keyids.map((id) => {
      const key = keys[id]
      const isNew = before !== undefined && !before.keyids.includes(id)
      return `    ${key === undefined ? 'unknown' : keyLabel(key)}  ${key === undefined ? id : keyIdOf(key)}${isNew ? '  NEW' : ''}`
    }),
    ...lost.map((id) => `    no longer  ${id}`),
  ]
}

function roleNamed(roles: Root['roles'], name: string): Role | undefined {
  return Object.entries(roles).find(([role]) => role === name)?.[1]
}

function familyLines(
  { role, version }: Meant,
  { targets }: Family,
  before: Family | undefined,
  { manifest, previousManifest }: ProposalDetail,
): readonly string[] {
  const old = before?.targets ?? {}
  const paths = Object.keys(targets)
  const added = paths.filter((path) => !Object.hasOwn(old, path))
  const changed = paths.filter(
    (path) => Object.hasOwn(old, path) && JSON.stringify(old[path]) !== JSON.stringify(targets[path]),
  )
  const gone = Object.keys(old).filter((path) => !Object.hasOwn(targets, path))
  if (!paths.every((path) => path.startsWith(`${role}/`)))
    throw otherProposal('another image', { role, version })
  // INVARIANT: nobody signs a release that was changed afterwards.
  if (changed.length > 0) throw otherProposal(`a changed ${changed.join(', ')}`, { role, version })
  const wanted = version === undefined ? [] : [`${role}/${version}`]
  if (added.join() !== wanted.join()) {
    throw otherProposal(added.length === 0 ? 'no new release' : added.join(', '), { role, version })
  }
  return [
    ...added.flatMap((path) => releaseLines(path, targets[path], decode(manifest), decode(previousManifest))),
    ...gone.map((path) => `  retired       ${path}`),
    `  releases      ${paths.length} in all`,
  ]
}

function releaseLines(
  path: string,
  target: Family['targets'][string] | undefined,
  manifest: Uint8Array | undefined,
  previous: Uint8Array | undefined,
): readonly string[] {
  if (target === undefined) return []
  const { hashes, custom } = target
  const isShown = manifest !== undefined && hash('sha256', manifest) === hashes.sha256
  if (isShown) requireOwnManifest(custom.content ?? path, manifest)
  return [
    `  release       ${path}, number ${custom.counter}${custom.content === undefined ? '' : `: again the image of ${custom.content}`}`,
    `  manifest      sha256:${hashes.sha256}`,
    ...(isShown
      ? describeRelease(manifest, previous)
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
    remedy: 'Nothing was signed. See what awaits signatures: trustcast image releases',
  })
}
