import { z } from 'zod'
import { leaseStats } from './lease.ts'
import { delivery } from './person.ts'
import { bytes32, decision, deliveryMode, floors, instant, slug, uuid } from './words.ts'

/**
 * How a portal in a browser hands a launch to the endpoint that it is shown on: the browser, signed in, asks for a code; the endpoint
 * redeems it, by its own key, and is given the delivery. The code alone is worth nothing to anybody but an enrolled endpoint.
 */

export const handoffRequest = z.strictObject({
  /** Absent: nothing is launched, the site only learns which device this browser is on. */
  workspaceId: slug.optional(),
  /** The endpoint that answered on this machine: no other one can use the code then. */
  endpointId: uuid.optional(),
  /** Ends the same workspace where it is hosted now, and opens it on the device. */
  switch: z.boolean().optional(),
})
export type HandoffRequest = z.infer<typeof handoffRequest>

export const handoffAnswer = z.strictObject({
  /** 256 random bits, base64url; used once. */
  code: bytes32,
  expiresAt: instant,
})

/**
 * How a code reached the endpoint: from a page of the site, shown there, or by whatever else a program of that machine was started with. Only
 * the first says that whoever made the code is there.
 */
export const handedBy = z.enum(['page', 'address'])
export type HandedBy = z.infer<typeof handedBy>

export const redeemRequest = z.strictObject({
  code: bytes32,
  /** Of an endpoint that does not say it, it counts as an address. */
  by: handedBy.default('address'),
  /** 32 fresh random bytes that the site's direction is signed over. */
  nonce: bytes32,
  /** X25519 public key of the endpoint for this delivery. */
  clientKey: bytes32,
  floors: floors.optional(),
})

export const redeemAnswer = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('met') }),
  z.strictObject({ kind: z.literal('launch'), decision, delivery }),
])
export type RedeemAnswer = z.infer<typeof redeemAnswer>

/** What the portal or `trustcast open` gives the service on this machine. */
export const deviceLaunchRequest = z.strictObject({ code: bytes32 })

/** What the portal asks for before it shows the screen of a VM that runs on this machine. */
export const deviceDisplayRequest = z.strictObject({ sessionId: uuid })

export const deviceDisplayAnswer = z.strictObject({
  /** 256 random bits, base64url: opens one WebSocket to `/display`, within half a minute, of a program of the same account. */
  ticket: bytes32,
})
export type DeviceDisplayAnswer = z.infer<typeof deviceDisplayAnswer>

/** Why a launch on this device is over. */
export const deviceLaunchEnd = z.strictObject({
  code: z.string(),
  reason: z.string(),
  remedy: z.string().optional(),
  /** The mode in which the same workspace opens in the data centre now. */
  stepDown: deliveryMode.optional(),
  /** True when it was not its person or its application that ended it. */
  taken: z.boolean(),
  at: instant,
})
export type DeviceLaunchEnd = z.infer<typeof deviceLaunchEnd>

/** One workspace that this device runs, or ran since the service started. */
export const deviceLaunch = z.strictObject({
  /** The session's id. */
  id: uuid,
  workspace: z.strictObject({ id: slug, name: z.string() }),
  person: z.string(),
  mode: deliveryMode,
  state: z.enum(['opening', 'open', 'ended']),
  startedAt: instant,
  /** What is left of its lease if the site is not heard of again, ms. */
  leaseLeftMs: z.int().min(0).optional(),
  stats: leaseStats,
  end: deviceLaunchEnd.optional(),
})
export type DeviceLaunch = z.infer<typeof deviceLaunch>

/** A disk that another program of this machine has attached, such as `trustcast launch`. */
export const deviceDisk = z.strictObject({
  id: z.string(),
  name: z.string(),
  mount: z.string().optional(),
  /** Absent when it did not answer. */
  bytesFetched: z.number().min(0).optional(),
  percentLocal: z.number().min(0).max(100).optional(),
})

/** What the service of an endpoint says of itself: `GET /status`. */
export const deviceStatus = z.strictObject({
  version: z.string(),
  endpointId: uuid,
  siteId: z.string(),
  site: z.string(),
  connected: z.boolean(),
  /** Somebody else than the site answered when it was dialled last. */
  intercepted: z.boolean(),
  /** What else keeps it from its site and does not pass by itself: the clock of this device, or the site's own word; or from stating evidence. */
  trouble: z.strictObject({ message: z.string(), remedy: z.string().optional() }).optional(),
  certificateExpiresAt: instant,
  /** When the site last accepted evidence from here; absent before that. */
  evidenceAt: instant.optional(),
  launches: z.array(deviceLaunch),
  disks: z.array(deviceDisk),
})
export type DeviceStatus = z.infer<typeof deviceStatus>

export const deviceLaunchAnswer = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('met') }),
  z.strictObject({ kind: z.literal('launch'), launch: deviceLaunch }),
])
export type DeviceLaunchAnswer = z.infer<typeof deviceLaunchAnswer>
