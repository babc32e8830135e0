import { z } from 'zod'
import { leaseStates } from '#core/lease/lease.ts'
import { overlays } from '#core/trust/words.ts'
import { bootView } from './device-keys.ts'
import { bytes32, deliveryMode, instant, label, nextPage, pageQuery, slug, uuid } from './words.ts'

/** Endpoints and what they hold, as people and agents are told of it. */

/** Asks for the key of the image that a lease is about, with what the answer to the launch held. */
export const leaseKeyRequest = z.strictObject({ keyTicket: bytes32 })
/** The key of the image that a lease is about, sealed to the endpoint's key for this lease (`core/lease`), base64url. */
export const leaseKeyAnswer = z.strictObject({ sealedKey: z.string().max(500) })
export type LeaseKeyAnswer = z.infer<typeof leaseKeyAnswer>

/** What an endpoint reports of one disk; counts are bytes since the lease began. */
export const leaseStats = z.strictObject({
  bytesFetched: z.int().min(0),
  /** Read from what was on the endpoint already. */
  bytesLocal: z.int().min(0),
  /** How much of the image is on the endpoint, 0 to 100. */
  percentLocal: z.number().min(0).max(100),
  /** Chunks that the endpoint's cache had when they were wanted. */
  cacheHits: z.int().min(0),
  bytesWritten: z.int().min(0),
})
export type LeaseStats = z.infer<typeof leaseStats>

/** Why a lease was withdrawn, what would bring it back, and in which other mode the workspace opens right now. */
export const leaseNotice = z.strictObject({
  code: z.string().max(100),
  reason: z.string().max(1000),
  remedy: z.string().max(1000).optional(),
  /** The mode that a launch would be given now; absent when nothing is permitted. */
  stepDown: deliveryMode.optional(),
})
export type LeaseNotice = z.infer<typeof leaseNotice>

export const leaseView = z.strictObject({
  id: uuid,
  sessionId: uuid,
  person: z.strictObject({ id: uuid, login: z.string(), name: z.string() }),
  workspaceId: slug,
  mode: deliveryMode,
  image: label,
  version: z.string(),
  manifestDigest: z.string(),
  state: z.enum(leaseStates),
  overlay: z.enum(overlays),
  keyReleasedAt: instant.optional(),
  expiresAt: instant,
  withdrawnAt: instant.optional(),
  notice: leaseNotice.optional(),
  stats: leaseStats.optional(),
})
export type LeaseView = z.infer<typeof leaseView>

/** A lease in the list of all, with where it is. */
export const heldLease = leaseView.extend({
  endpoint: z.strictObject({ id: uuid, name: z.string(), online: z.boolean() }),
})
export type HeldLease = z.infer<typeof heldLease>

export const leasesQuery = pageQuery.extend({ image: label.optional(), version: label.optional() })
/** What may still be read, oldest first. */
export const leasesAnswer = z.strictObject({
  leases: z.array(heldLease),
  next: nextPage,
  /** How many the search finds. */
  count: z.int(),
})

/** Of each image version how many leases are open, and the groups that endpoints are in. */
export const imageUseAnswer = z.strictObject({
  uses: z.array(z.strictObject({ image: label, version: z.string(), leases: z.int() })),
  groups: z.array(slug),
})

/** An endpoint in the list. What is known of it is asked for on its own. */
export const endpointView = z.strictObject({
  id: uuid,
  name: z.string(),
  /** Releases can go to one group of endpoints before the others. */
  group: slug,
  online: z.boolean(),
  lastSeenAt: instant.optional(),
  certificateExpiresAt: instant,
  revoked: z.boolean(),
  /** Where the key is by which it proves which it is. */
  deviceKey: z.enum(['file', 'tpm']),
  owner: z.strictObject({ id: uuid, login: z.string(), name: z.string() }).optional(),
  enrolledAt: instant.optional(),
  /** As its TPM attested it. */
  boot: bootView.optional(),
  /** Whether its evidence comes as it should. */
  reports: z.boolean(),
  /** Another machine has its key, or it was put back to an older state. */
  forked: z.boolean(),
  /** What it holds or may still be able to read. */
  leases: z.array(leaseView),
})
export type EndpointView = z.infer<typeof endpointView>

export const endpointsQuery = pageQuery.extend({
  /** Only those that booted something else than is expected of them. */
  boot: z.literal('changed').optional(),
})
/** By name. */
export const endpointsAnswer = z.strictObject({
  endpoints: z.array(endpointView),
  next: nextPage,
  /** How many the search finds, and how many of them are connected. */
  count: z.strictObject({ all: z.int(), online: z.int() }),
})
