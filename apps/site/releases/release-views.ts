import type { z } from 'zod'
import {
  type ChannelRow,
  type Db,
  type ImageRow,
  imageOf,
  listChannels,
  listProposals,
  listReleaseRows,
  listUnreleasedImages,
  type ProposalRow,
  proposalOf,
  type ReleaseRow,
} from '#adapters/store-postgres/index.ts'
import type {
  channelView,
  imageView,
  ProposalDetail,
  ProposalView,
  ReleasesView,
  releaseView,
} from '#core/api/releases.ts'
import {
  changedReleases,
  decodeAnyMetadata,
  decodeMetadata,
  familyRole,
  keyIdOf,
  keyLabel,
  type RoleKeys,
  rootRole,
  signatureState,
} from '#core/release/index.ts'
import { stateOf } from './release-channels.ts'
import {
  noProposal,
  publishedBytes,
  type ReleaseState,
  readState,
  rolesThatSign,
} from './release-proposing.ts'

/** What people see of releases: what is published, what awaits signatures, where channels point. */

export async function releasesViewOf(db: Db): Promise<ReleasesView> {
  const [state, proposals, releases, channels, unreleased] = await Promise.all([
    readState(db),
    listProposals(db),
    listReleaseRows(db),
    listChannels(db),
    listUnreleasedImages(db),
  ])
  const { repository } = state
  const root = repository && decodeMetadata('root', repository.root).signed
  const targets = repository?.targets && decodeMetadata('targets', repository.targets).signed
  return {
    ...(root && { root: { ...published(root), ...keysOf(rootRole(root, 'root')) } }),
    ...(root && { targets: { ...published(targets), ...keysOf(rootRole(root, 'targets')) } }),
    images: (targets?.delegations.roles ?? []).map(({ name }) => {
      const family = repository?.families.get(name)
      const role = targets && familyRole(targets, name)
      return {
        name,
        ...published(family && decodeMetadata('family', family).signed),
        ...keysOf(role ?? { role: name, threshold: 0, keys: [] }),
        releases: releases.filter((release) => release.name === name).map(releaseViewOf),
        channels: channels.filter((channel) => channel.name === name).map(channelViewOf),
      }
    }),
    proposals: proposals.map((proposal) => proposalViewOf(proposal, state)),
    unreleased: unreleased.map(imageViewOf),
  }
}

/** @throws {SiteError} NOT_FOUND */
export async function readProposal(db: Db, role: string): Promise<ProposalView> {
  const proposal = await proposalOf(db, role)
  if (proposal === undefined) throw noProposal(role)
  return proposalViewOf(proposal, await readState(db))
}

/** Everything that a signature is about. @throws {SiteError} NOT_FOUND */
export async function readProposalDetail(db: Db, role: string): Promise<ProposalDetail> {
  const [proposal, state] = [await proposalOf(db, role), await readState(db)]
  if (proposal === undefined) throw noProposal(role)
  const view = proposalViewOf(proposal, state)
  const published = publishedBytes(role, state)
  const [added] = view.adds
  const [previous] = added === undefined ? [] : await listReleaseRows(db, role)
  const manifest = added && (await imageOf(db, role, added.contentVersion))?.manifest
  const previousManifest = previous && (await imageOf(db, role, previous.content_version))?.manifest
  return {
    ...view,
    metadata: proposal.bytes.toString('base64url'),
    ...(published && { published: Buffer.from(published).toString('base64url') }),
    ...(manifest && { manifest: manifest.toString('base64url') }),
    ...(previousManifest && { previousManifest: previousManifest.toString('base64url') }),
  }
}

export function imageViewOf(row: Omit<ImageRow, 'manifest'>): z.infer<typeof imageView> {
  return {
    name: row.name,
    version: row.version,
    manifestDigest: row.manifest_digest,
    store: row.store,
    importedBy: row.imported_by,
    importedAt: row.imported_at.toISOString(),
    ...(row.comparison === null ? {} : { comparison: row.comparison }),
  }
}

function channelViewOf(row: ChannelRow): z.infer<typeof channelView> {
  const { current, next } = stateOf(row)
  return {
    channel: row.channel === 'production' ? 'production' : 'test',
    current,
    ...(next === undefined
      ? {}
      : {
          next: {
            version: next.version,
            wave: {
              groups: [...next.wave.groups],
              endpoints: [...next.wave.endpoints],
              percent: next.wave.percent,
            },
          },
        }),
    changedAt: row.changed_at.toISOString(),
  }
}

function releaseViewOf(row: ReleaseRow): z.infer<typeof releaseView> {
  return {
    version: row.version,
    contentVersion: row.content_version,
    counter: row.counter,
    manifestDigest: row.manifest_digest,
    publishedAt: row.published_at.toISOString(),
  }
}

function proposalViewOf(row: ProposalRow, state: ReleaseState): ProposalView {
  const metadata = decodeAnyMetadata(row.bytes)
  const signatures = rolesThatSign(row.role, state).map((role) => signatureState(row.bytes, role))
  return {
    role: row.role,
    version: row.version,
    proposedBy: row.proposed_by,
    proposedAt: row.proposed_at.toISOString(),
    expiresAt: metadata.signed.expires,
    signatures: signatures.map(({ valid, waiting, unknownKeys, ...rest }) => ({
      ...rest,
      valid: [...valid],
      waiting: [...waiting],
      unknownKeys: [...unknownKeys],
    })),
    missing: Math.max(0, ...signatures.map(({ missing }) => missing)),
    adds: metadata.kind === 'family' ? addedBy(row, state) : [],
  }
}

function addedBy(row: ProposalRow, state: ReleaseState): ProposalView['adds'] {
  return changedReleases(row.role, publishedBytes(row.role, state), row.bytes).added.map(
    ({ version, contentVersion, counter }) => ({ version, contentVersion, counter }),
  )
}

function published(signed: { readonly version: number; readonly expires: string } | undefined) {
  return signed === undefined ? { version: 0 } : { version: signed.version, expiresAt: signed.expires }
}

function keysOf({ threshold, keys }: RoleKeys) {
  return { threshold, keys: keys.map((key) => ({ keyId: keyIdOf(key), name: keyLabel(key) })) }
}
