import { z } from 'zod'
import { instant, label, slug, uuid } from './words.ts'

/** What admins, and the people who hold release keys, exchange with the site. What it means is in `core/release`. */

const digest = z.string().regex(/^[0-9a-f]{64}$/)
const base64url = z.string().regex(/^[A-Za-z0-9_-]*$/)

/** A release role: one of TUF's, or the name of an image. */
export const roleName: z.ZodString = label

/** A public key as TUF writes it; `core/release` checks what it says. */
export const releaseKey = z.strictObject({
  keytype: z.enum(['ed25519', 'ecdsa']),
  scheme: z.enum(['ed25519', 'ecdsa-sha2-nistp256']),
  keyval: z.strictObject({ public: z.string().max(500) }),
  'x-trustcast-name': z.string().max(100).optional(),
})

export const keySet = z.strictObject({
  keys: z.array(releaseKey).min(1).max(30),
  threshold: z.int().min(1).max(30),
})

/** Who signs. Without `targets` the same people name the keys of images. */
export const rootRequest = z.strictObject({ root: keySet, targets: keySet.optional() })

const byteCount = z.int().min(0)

/** Parts of the disk in `ImageComparison.cells`. */
export const comparedCells = 512

/**
 * What an image shares with another version of its family. Only who has the image's key can know: it is what the person says who
 * registered it, nothing is proven, and nothing depends on it.
 */
export const imageComparison = z.strictObject({
  /** Version that it was compared with. */
  against: label,
  /** Of the disk. */
  sizeBytes: byteCount,
  /** Bytes of the disk that are as they were, zeros included. */
  sameBytes: byteCount,
  changedBytes: byteCount,
  /** Zeros now, and were not. */
  clearedBytes: byteCount,
  /** What a store holds for what changed. */
  changedStoredBytes: byteCount,
  /** The disk in parts of the same size: `c` something changed there, `z` was cleared, `s` all the same, `.` empty. */
  cells: z.string().regex(new RegExp(`^[scz.]{${comparedCells}}$`)),
})
export type ImageComparison = z.infer<typeof imageComparison>

export const imageRequest = z.strictObject({
  name: label,
  version: label,
  /** The image's manifest, byte for byte; at most 64 KiB. */
  manifest: base64url.max(90_000),
  /** Where its bytes lie, for people. */
  store: z.string().max(500),
  comparison: imageComparison.optional(),
})
export const imageView = z.strictObject({
  name: label,
  version: label,
  manifestDigest: digest,
  store: z.string(),
  importedBy: z.string(),
  importedAt: instant,
  comparison: imageComparison.optional(),
})
export type ImageView = z.infer<typeof imageView>

const keyReference = z.strictObject({ keyId: digest, name: z.string() })
export const signatureStateView = z.strictObject({
  role: z.string(),
  threshold: z.int(),
  valid: z.array(keyReference),
  missing: z.int(),
  waiting: z.array(keyReference),
  unknownKeys: z.array(digest),
})

/** Metadata that awaits signatures. */
export const proposalView = z.strictObject({
  role: roleName,
  version: z.int(),
  proposedBy: z.string(),
  proposedAt: instant,
  expiresAt: instant,
  /** One for each role that must agree: of a root that follows another there are two. */
  signatures: z.array(signatureStateView),
  /** Signatures still missing, at most. */
  missing: z.int(),
  /** What an image's role would add. */
  adds: z.array(z.strictObject({ version: label, contentVersion: label, counter: z.int() })),
})
export type ProposalView = z.infer<typeof proposalView>
export const proposals = z.strictObject({ proposals: z.array(proposalView) })

/** Everything that a person needs in order to know what they sign. Nothing in it is believed: it is in the bytes. */
export const proposalDetail = proposalView.extend({
  /** The bytes to sign and the signatures so far. */
  metadata: base64url,
  /** The role's metadata as published; absent for the first. */
  published: base64url.optional(),
  /** Manifests of the release that is added and of the newest one before it, where there are such. */
  manifest: base64url.optional(),
  previousManifest: base64url.optional(),
})
export type ProposalDetail = z.infer<typeof proposalDetail>

export const signatureRequest = z.strictObject({
  keyid: digest,
  sig: z.string().regex(/^(?:[0-9a-f]{2}){1,100}$/),
})

export const releaseRequest = z.strictObject({ version: label })
export const rollbackRequest = z.strictObject({
  to: label,
  /** The version of the new release; one is made up without it. */
  as: label.optional(),
})
export const publicationRequest = z.strictObject({ roles: z.array(roleName).min(1).max(100) })
export const publicationAnswer = z.strictObject({
  published: z.array(z.strictObject({ role: roleName, version: z.int() })),
})

export const channelName = z.enum(['test', 'production'])

export const wave = z.strictObject({
  groups: z.array(slug).max(100),
  endpoints: z.array(uuid).max(1000),
  percent: z.int().min(0).max(100),
})
/** Without a wave everybody gets it at once. */
export const channelRequest = z.strictObject({ version: label, wave: wave.optional() })
export const channelView = z.strictObject({
  channel: channelName,
  current: label,
  next: z.strictObject({ version: label, wave }).optional(),
  changedAt: instant,
})

export const releaseView = z.strictObject({
  version: label,
  /** Another than `version` after a rollback. */
  contentVersion: label,
  counter: z.int(),
  manifestDigest: digest,
  publishedAt: instant,
})

const roleView = z.strictObject({
  /** Of the published metadata; 0 while there is none. */
  version: z.int(),
  expiresAt: instant.optional(),
  threshold: z.int(),
  keys: z.array(keyReference),
})
export const releasesView = z.strictObject({
  root: roleView.optional(),
  targets: roleView.optional(),
  images: z.array(
    roleView.extend({ name: label, releases: z.array(releaseView), channels: z.array(channelView) }),
  ),
  proposals: z.array(proposalView),
  /** Imported, and never released. */
  unreleased: z.array(imageView),
})
export type ReleasesView = z.infer<typeof releasesView>
