import { z } from 'zod'
import { endpointClaim } from '#core/api/evidence.ts'
import { leaseNotice, leaseStats } from '#core/api/lease.ts'
import { bytes32, instant, obligations, right, slug, uuid } from '#core/api/words.ts'
import { maxStatementChars } from '#core/evidence/index.ts'
import { maxOpenLeases } from '#core/lease/index.ts'
import { attestation } from '#core/tpm/attestation.ts'
import { overlays } from '#core/trust/words.ts'
import { agentText } from './agent-text.ts'

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
  /** What passes the display of a local VM, as the decision has it now. */
  display: z.strictObject({ rights: z.array(right), obligations, fullName: z.string().max(200) }).optional(),
  /** Why it was withdrawn, and what to do now. */
  notice: leaseNotice.optional(),
})
export type EndpointLease = z.infer<typeof endpointLease>
export type DisplayTerms = NonNullable<EndpointLease['display']>

/** A machine near which an endpoint has to be, if its zone is to count: see `core/beacon`. */
export const beaconToAsk = z.strictObject({
  zone: z.string().max(40),
  url: z.string().max(300),
  /** Its Ed25519 public key: the endpoint talks to nobody else. */
  key: bytes32,
})
export type BeaconToAsk = z.infer<typeof beaconToAsk>

/** What the next evidence answers. There is at most one that is open on a connection. */
export const challenge = z.strictObject({
  kind: z.literal('challenge'),
  nonce: bytes32,
  /** Of the last evidence that the site accepted; kept on disk, and said with the next (`core/evidence/ratchet.ts`). */
  previous: z.string().max(128).optional(),
  /** The next quote shall come with the firmware's event log. */
  wantLog: z.boolean(),
  beacons: z.array(beaconToAsk).max(20),
})
export type Challenge = z.infer<typeof challenge>

/** What the site makes of the evidence: said after the first of a connection, when it has changed, and when it was refused. */
export const verdict = z.strictObject({
  kind: z.literal('verdict'),
  claims: z.array(endpointClaim).max(100),
  /** Why the last evidence was not taken: `EVIDENCE_…`. */
  refused: z
    .strictObject({
      code: z.string().max(100),
      message: z.string().max(1000),
      remedy: z.string().max(1000).optional(),
    })
    .optional(),
})
export type Verdict = z.infer<typeof verdict>

/** What one person wrote and kept on the endpoint. */
const writtenHere = z.strictObject({
  personId: uuid,
  /** Only what the virtual machine of this workspace wrote; absent: everything. */
  workspaceId: slug.optional(),
})
export type WrittenHere = z.infer<typeof writtenHere>
export const mostDiscards = 100

export const siteToEndpoint = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('desired'),
    /** Stamp of the latest report that this word takes account of. */
    heard: stamp,
    /** Every lease of this endpoint that is not over, and those that it says are paused. One that it has told of and that is missing here is over. */
    leases: z.array(endpointLease).max(2 * maxOpenLeases),
    /** What is to be discarded, with no lease open on it; more of it when that is gone. Only to agents that understand it (`understood.ts`). */
    discard: z.array(writtenHere).max(mostDiscards).optional(),
  }),
  challenge,
  verdict,
])
export type SiteToEndpoint = z.infer<typeof siteToEndpoint>
export type DesiredLeases = Extract<SiteToEndpoint, { kind: 'desired' }>

export const reportedLease = z.strictObject({
  id: uuid,
  /**
   * `ended`: its key is gone from this machine's memory and nothing reads with it any more. `paused`: the same, but a virtual machine that
   * ran under it stands still in memory, until it goes on under another lease or its end; then it is `ended`.
   */
  state: z.enum(['held', 'paused', 'ended']),
  /** For `paused` and `ended`: LEASE_WITHDRAWN, LEASE_EXPIRED, LEASE_ENDED, or what else ended it. */
  end: z.strictObject({ code: agentText(100), reason: agentText(500) }).optional(),
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
    /** This process sends evidence: it is challenged. One of a machine does; launches beside it only hold leases. */
    reports: z.boolean().default(false),
  }),
  /** Once a minute and at once when something has changed; answers the challenge that is open. */
  z.strictObject({
    kind: z.literal('evidence'),
    /** A compact JWS: see `core/evidence/statement.ts`. */
    statement: z.string().max(maxStatementChars),
    /** Of a TPM, over the statement's SHA-256. */
    attestation: attestation.optional(),
  }),
  /** While there are leases every 5 s, and at once when one changes: those that this process holds, ended ones until the site drops them. */
  z.strictObject({
    kind: z.literal('report'),
    at: stamp,
    leases: z.array(reportedLease).max(2 * maxOpenLeases),
  }),
  /** Of what was to be discarded, that of which nothing is left here, durably; again as long as it is told. */
  z.strictObject({ kind: z.literal('discarded'), written: z.array(writtenHere).min(1).max(mostDiscards) }),
])
export type EndpointToSite = z.infer<typeof endpointToSite>
export type EvidenceMessage = Extract<EndpointToSite, { kind: 'evidence' }>
