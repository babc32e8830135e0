import { z } from 'zod'
import { leaseNotice, leaseStats } from '#core/api/lease.ts'
import { bytes32, instant, uuid } from '#core/api/words.ts'
import { overlays } from '#core/trust/words.ts'

/**
 * What an endpoint's agent and a site node say to each other, by the same rules as hosts (`messages.ts`): the site states whole and
 * level-triggered what the endpoint may hold, the endpoint reports what is. Keys never travel here: each comes once, sealed, in the answer to
 * a launch.
 *
 * Time: clocks of two machines differ and messages can be held back on their way. So the endpoint stamps each report with its own
 * steady clock, the site repeats the latest stamp that it has read, and what is left of a lease counts from that stamp: the endpoint's end is
 * never later than the site's.
 */

/** Milliseconds of the endpoint's own steady clock, which runs on while the machine sleeps. The site only repeats it. */
const stamp = z.int().min(0)

export const endpointLease = z.strictObject({
  id: uuid,
  state: z.enum(['held', 'withdrawn']),
  /** As the site's clock has it; for people. */
  expiresAt: instant,
  /** What is left of it at least, counted from `heard`. */
  leftMs: z.int().min(0),
  /** What becomes of what was written, once the lease is over. */
  overlay: z.enum(overlays),
  /** Why it was withdrawn, and what to do now. */
  notice: leaseNotice.optional(),
})
export type EndpointLease = z.infer<typeof endpointLease>

export const siteToEndpoint = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('desired'),
    /** Stamp of the latest report that this word takes account of. */
    heard: stamp,
    /** Every lease of this endpoint that is not over. One that it has told of and that is missing here is over. */
    leases: z.array(endpointLease).max(200),
  }),
])
export type SiteToEndpoint = z.infer<typeof siteToEndpoint>

export const reportedLease = z.strictObject({
  id: uuid,
  /** `ended`: its key is gone from this machine's memory and nothing reads with it any more. */
  state: z.enum(['held', 'ended']),
  /** For `ended`: LEASE_WITHDRAWN, LEASE_EXPIRED, LEASE_ENDED, or what else ended it. */
  end: z.strictObject({ code: z.string().max(100), reason: z.string().max(500) }).optional(),
  stats: leaseStats,
})
export type ReportedLease = z.infer<typeof reportedLease>

export const endpointToSite = z.discriminatedUnion('kind', [
  /** First message of a connection. */
  z.strictObject({
    kind: z.literal('hello'),
    /** X25519: image keys are sealed to it. */
    sealKey: bytes32,
    version: z.string().max(50),
  }),
  /** Every 5 s and at once when a lease changes: the leases that this process holds, ended ones until the site drops them. */
  z.strictObject({ kind: z.literal('report'), at: stamp, leases: z.array(reportedLease).max(200) }),
])
export type EndpointToSite = z.infer<typeof endpointToSite>
