import { z } from 'zod'
import { leaseNotice, leaseStats } from './lease.ts'
import { dataPlace, deliveryMode, instant, label, slug, uuid } from './words.ts'

/** Where data is, what became of it, and the proof of that, as auditors are told. */

/** `unknown`: seen from nowhere now. */
export const zoneKindsSeen = ['inside', 'outside', 'hostile', 'unknown'] as const

/** What protects a copy; `core/data/protection.ts` says it in sentences. */
export const protections = [
  'stays-on-host',
  'key-not-sent',
  'key-in-memory',
  'key-withdrawn',
  'overlay-discarded',
  'overlay-kept',
  'overlay-replicated',
  'paused-in-memory',
  'no-key',
  'discard-asked',
  'replica-sealed',
] as const
export type Protection = (typeof protections)[number]

export const copyStates = [
  /** Of a session on a host. */
  'starting',
  'in-use',
  'disconnected',
  'ending',
  /** Of a lease. */
  'offered',
  'held',
  'withdrawn',
  /** The lease is over and its key is gone; a virtual machine that ran under it stands still in the endpoint's memory. */
  'paused',
  /** The lease is over; what was written stays on the endpoint, and nothing there can read it. */
  'kept',
  /** What was written on an endpoint, in the data centre, sealed. */
  'replicated',
] as const
export type CopyState = (typeof copyStates)[number]

/** What is left of one that an admin has deleted. */
const deleted = z.literal(true).optional()

/** One copy of data: of a session on a host, under a lease on an endpoint, what a lease has left there, or its replica. */
export const dataCopy = z.strictObject({
  /** Of its lease; of its session where there is none; of a replica its own, and session and lease are those that wrote it last. */
  id: uuid,
  sessionId: uuid,
  leaseId: uuid.optional(),
  workspace: z.strictObject({ id: slug, name: z.string(), deleted }),
  person: z.strictObject({ id: uuid, login: z.string(), name: z.string(), deleted }),
  machine: z.strictObject({
    id: uuid,
    name: z.string(),
    kind: z.enum(['host', 'endpoint', 'site']),
    online: z.boolean(),
    /** Of an endpoint that has something left: it cannot be told to discard that, since it was revoked or its program is too old. */
    outOfReach: z.literal(true).optional(),
  }),
  mode: deliveryMode,
  place: dataPlace,
  /** The network that its person, and on an endpoint the endpoint, is seen on; the worse one of the two. */
  zone: z.strictObject({
    name: z.string(),
    kind: z.enum(zoneKindsSeen),
    /** One sentence, without a full stop. */
    why: z.string().optional(),
  }),
  image: z.strictObject({ name: label, version: z.string(), manifestDigest: z.string() }).optional(),
  state: z.enum(copyStates),
  protection: z.array(z.enum(protections)),
  /** Of a replica. */
  replica: z
    .strictObject({
      /** As it is stored. */
      sizeBytes: z.int().min(0),
      /** When the disk was as it is. */
      copiedAt: instant,
      /** From where it came last. */
      endpoint: z.strictObject({ id: uuid, name: z.string() }),
    })
    .optional(),
  /** When it came there; of what was kept: since when nothing there can read it. */
  since: instant,
  /** Until when it can be read at the latest, unless the site prolongs that, or the endpoint sleeps in the middle of a pause. */
  until: instant.optional(),
  stats: leaseStats.optional(),
  /** Why it was taken back. */
  notice: leaseNotice.optional(),
})
export type DataCopy = z.infer<typeof dataCopy>

const counts = z.record(z.string(), z.int().min(1))

/** More are no page of an answer. */
export const mostCopies = 5_000

/** Which copies: those in an area that have all words of the search in what is shown of them, a page of them. */
export const dataQuery = z.strictObject({
  search: z.string().max(200).optional(),
  /** `datacenter`, or on endpoints in that kind of zone. */
  area: z.enum(['datacenter', ...zoneKindsSeen]).optional(),
  /** `next` of the page before. */
  after: z
    .string()
    .regex(/^\d\.[0-9a-f-]{36}$/)
    .optional(),
  limit: z.coerce.number().int().min(1).max(mostCopies).default(mostCopies),
})
export type DataQuery = z.infer<typeof dataQuery>

export const dataAnswer = z.strictObject({
  /** The site's clock. */
  at: instant,
  /** A page of those that were asked for. */
  copies: z.array(dataCopy),
  /** How many were asked for, on all pages. */
  found: z.int().min(0),
  /** Where the next page begins: absent on the last. */
  next: z.string().optional(),
  /** Of all copies, whatever was asked for. */
  summary: z.strictObject({
    total: z.int().min(0),
    /** On endpoints. */
    outside: z.int().min(0),
    /** On endpoints, and can be read there now. */
    readable: z.int().min(0),
    byPlace: counts,
    byMode: counts,
    /** Of copies on endpoints. */
    byZone: counts,
    byState: counts,
    /** By `area` and in it by state. */
    byArea: z.record(z.string(), counts),
  }),
})
export type DataAnswer = z.infer<typeof dataAnswer>
export type DataSummary = DataAnswer['summary']

export const withdrawRequest = z.strictObject({
  /** For the person who loses it and for the log. */
  reason: z.string().trim().min(1).max(500),
})
export const withdrawAnswer = z.strictObject({ id: uuid, state: z.enum(['withdrawn', 'ended']) })

export const removeRequest = z.strictObject({ reason: z.string().trim().min(1).max(500) })
export const removeAnswer = z.strictObject({ id: uuid })

/** What a time line can be about. */
export const timelineTopics = ['workspace', 'person', 'endpoint', 'host', 'session', 'lease'] as const
export type TimelineTopic = (typeof timelineTopics)[number]

const about = z.string().min(1).max(100).optional()
/** Exactly one topic. People and machines are named by their ids, or as people call them. */
export const timelineQuery = z
  .strictObject({
    workspace: about,
    person: about,
    endpoint: about,
    host: about,
    session: about,
    lease: about,
    limit: z.coerce.number().int().min(1).max(200).default(50),
    /** Index of an entry: only older ones. */
    before: z
      .string()
      .regex(/^\d{1,18}$/)
      .optional(),
  })
  .refine((query) => timelineTopics.filter((topic) => query[topic] !== undefined).length === 1, {
    error: `name one of ${timelineTopics.join(', ')}`,
  })

/** An entry of the audit log, as it stands there. */
export const timelineEntry = z.strictObject({
  index: z.string(),
  at: instant,
  kind: z.string(),
  actor: z.strictObject({ type: z.string(), id: z.string() }),
  subject: z.string().optional(),
  data: z.json(),
})
export type TimelineEntry = z.infer<typeof timelineEntry>

export const timelineAnswer = z.strictObject({
  /** Newest first. */
  entries: z.array(timelineEntry),
  /** Of people and machines that the entries name by their ids. */
  names: z.record(z.string(), z.string()),
  /** Where older ones begin: the next `before`. */
  next: z.string().optional(),
})
export type TimelineAnswer = z.infer<typeof timelineAnswer>
