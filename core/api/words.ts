import { z } from 'zod'
import { dataPlaces, deliveryModes, overlays, rights } from '#core/trust/words.ts'

/** Schemas that several API messages share. Shapes only: what they mean is in `core/trust` and `core/policy`. */

export const slug: z.ZodString = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,39}$/, 'lower-case letters, digits and dashes, 40 at most')
/** Name of an image, a version or an application: as registries and `core/release` take it. */
export const label: z.ZodString = z
  .string()
  .regex(
    /^[a-z0-9][a-z0-9._-]{0,127}$/,
    'lower-case letters, digits, dots, underscores and dashes, 128 at most',
  )
export const uuid: z.ZodUUID = z.uuid()
/** 32 bytes, base64url without padding: an X25519 public key or a ticket. */
export const bytes32: z.ZodString = z.string().regex(/^[A-Za-z0-9_-]{43}$/, '32 bytes in base64url')
export const instant: z.ZodISODateTime = z.iso.datetime()

/** More than these an endpoint does not tell. */
export const mostFloors = 300
/** What an endpoint has accepted of images: the highest counter of each. It can only raise what it is given. */
export const floors = z
  .record(label, z.int().min(1))
  .refine((all) => Object.keys(all).length <= mostFloors, { error: `at most ${mostFloors} floors` })
/** Which part of a long list: a page of what `search` finds. `after` is the `next` of the page before. */
export const pageQuery = z.strictObject({
  search: z.string().max(100).optional(),
  after: uuid.optional(),
  limit: z.coerce.number().int().min(1).max(200).default(50),
})
/** Where the next page begins: absent on the last. */
export const nextPage = uuid.optional()

export const deliveryMode = z.enum(deliveryModes)
export const dataPlace = z.enum(dataPlaces)
export const right = z.enum(rights)

export const obligations = z.strictObject({
  clipboardMaxBytes: z.int().min(0),
  watermark: z.boolean(),
  sessionMinutes: z.int().min(1),
  idleMinutes: z.int().min(1),
  disconnectMinutes: z.int().min(1),
  leaseMinutes: z.int().min(1),
  overlay: z.enum(overlays),
})

/** A smallest set of claim changes that would permit what was refused. */
export const unlock = z.strictObject({
  changes: z.array(
    z.strictObject({ claim: z.string(), from: z.string(), to: z.string(), remedy: z.string() }),
  ),
})
export type Unlock = z.infer<typeof unlock>

export const refusal = z.strictObject({
  mode: deliveryMode,
  place: dataPlace,
  code: z.enum([
    'POLICY_FORBIDS',
    'POLICY_NO_PERMIT',
    'POLICY_ERROR',
    'NO_DELIVERER',
    'NO_CAPACITY',
    'NO_ENDPOINT',
    'NO_RELEASE',
  ]),
  reason: z.string(),
  policies: z.array(z.string()),
  /** False when this site could not deliver the mode, were it permitted: then an unlock promises nothing yet. */
  deliverable: z.boolean(),
  unlocks: z.array(unlock),
})
export type Refusal = z.infer<typeof refusal>

/** A right that the decision withholds, and why. */
export const restriction = z.strictObject({
  right,
  reason: z.string(),
  policies: z.array(z.string()),
  unlocks: z.array(unlock),
})
export type Restriction = z.infer<typeof restriction>

export const decision = z.strictObject({
  outcome: z
    .strictObject({
      mode: deliveryMode,
      place: dataPlace,
      rights: z.array(right),
      restrictions: z.array(restriction),
      obligations,
      policies: z.array(z.string()),
    })
    .optional(),
  refused: z.array(refusal),
  /** Why the network counted as it did: "Inside because 10.1.2.3 is in office and its beacon answered in 0.8 ms". */
  zoneReason: z.string().max(1000).optional(),
  policyDigest: z.string(),
  contextDigest: z.string(),
})
export type DecisionView = z.infer<typeof decision>

/**
 * What programs read of a failing answer. Not strict: a program is often older than its site, and whatever a newer one says
 * beside these, its person is to learn why they were refused.
 */
export const apiRefusal = z.object({
  code: z.string(),
  message: z.string(),
  remedy: z.string().optional(),
  /** Seconds after which trying again makes sense. */
  retryAfter: z.number().optional(),
})

/** Every failing answer of the API. */
export const apiError = apiRefusal.extend({
  /** Which value of the request it is about: `groups/1`. */
  field: z.string().optional(),
  /** For a refused launch: the decision that refused it. */
  decision: decision.optional(),
})
export type ApiError = z.infer<typeof apiError>
