import { z } from 'zod'
import { overlays } from '#core/trust/words.ts'
import {
  bytes32,
  decision,
  deliveryMode,
  floors,
  instant,
  label,
  nextPage,
  obligations,
  restriction,
  right,
  slug,
  unlock,
  uuid,
} from './words.ts'

/** What a person's browser or command line exchanges with the site. */

/** A P-256 public key; every later request of this web session is signed by it (see `core/identity/proof.ts`). */
export const proofKey = z.strictObject({
  kty: z.literal('EC'),
  crv: z.literal('P-256'),
  x: z.string().length(43),
  y: z.string().length(43),
})

const login = z
  .string()
  .regex(/^[a-z][a-z0-9._-]{0,31}$/, 'lower-case letters, digits, dots and dashes, 32 at most')
const password = z.string().min(1).max(1024)

export const signInRequest = z.strictObject({ login: z.string().max(64), password, key: proofKey })
/** Creates the first admin with the one-time token that `trustcast up` printed. */
export const setupRequest = z.strictObject({
  token: z.string().max(100),
  login,
  name: z.string().min(1).max(100),
  password,
})

export const siteView = z.strictObject({
  name: z.string(),
  siteId: z.string(),
  version: z.string(),
  /** True while the site has no admin yet. */
  needsSetup: z.boolean(),
})

export const me = z.strictObject({
  id: uuid,
  login: z.string(),
  name: z.string(),
  groups: z.array(z.string()),
  admin: z.boolean(),
  auditor: z.boolean(),
  network: z.strictObject({
    address: z.string(),
    zone: z.string(),
    kind: z.enum(['inside', 'outside', 'hostile']),
    /** Why it counts as this. */
    reason: z.string().optional(),
  }),
  /** Every claim the site holds about this person's endpoint and network, and what it is worth. */
  claims: z.array(
    z.strictObject({
      name: z.string(),
      label: z.string(),
      value: z.string(),
      source: z.string(),
      ageSec: z.number(),
    }),
  ),
})
export type Me = z.infer<typeof me>

const machine = z.strictObject({ id: uuid, name: z.string() })

export const workspaceView = z.strictObject({
  id: slug,
  name: z.string(),
  description: z.string(),
  kind: z.enum(['desktop', 'application']),
  icon: z.string(),
  decision,
  /** The image that it streams where it is delivered as a disk. */
  image: label.optional(),
  /** The person's running session of this workspace that they may come back to from here, if any. */
  sessionId: uuid.optional(),
  /** What the device that this browser was seen on would be given, where the workspace can run on one. */
  here: z.strictObject({ endpoint: machine, decision }).optional(),
  /** A mode that stands before the running session's and is permitted now: a launch with `switch` leads there. */
  better: z.strictObject({ mode: deliveryMode, reason: z.string() }).optional(),
})
export type WorkspaceView = z.infer<typeof workspaceView>

export const sessionStates = ['starting', 'ready', 'ending', 'ended'] as const
export const sessionView = z.strictObject({
  id: uuid,
  workspace: z.strictObject({ id: slug, name: z.string(), kind: z.enum(['desktop', 'application']) }),
  person: z.strictObject({ id: uuid, login: z.string(), name: z.string() }),
  mode: deliveryMode,
  /** Where a hosted one runs. */
  host: machine.optional(),
  /** Where one runs whose data place is the endpoint. */
  endpoint: machine.optional(),
  state: z.enum(sessionStates),
  /** A viewer is attached now. */
  connected: z.boolean(),
  rights: z.array(right),
  restrictions: z.array(restriction),
  obligations,
  decisionId: uuid,
  startedAt: instant,
  endsAt: instant,
  /** Why the session is ending or ended, what would unlock it again, and what else its person can do. */
  end: z
    .strictObject({
      code: z.string(),
      reason: z.string(),
      remedy: z.string().optional(),
      unlocks: z.array(unlock),
    })
    .optional(),
})
export type SessionView = z.infer<typeof sessionView>
/** Everybody's, oldest first. */
export const sessionsAnswer = z.strictObject({
  sessions: z.array(sessionView),
  next: nextPage,
  /** How many the search finds. */
  count: z.int(),
})

/** Evidence that the caller gives about itself. It can lower trust, never raise it. */
export const evidence = z
  .array(z.strictObject({ name: z.string().max(64), value: z.string().max(64) }))
  .max(64)

export const launchRequest = z.strictObject({
  workspaceId: slug,
  /** X25519 public key that this page or command keeps the private half of. The ticket is bound to it. */
  clientKey: bytes32,
  evidence: evidence.optional(),
  width: z.int().min(320).max(7680).optional(),
  height: z.int().min(240).max(4320).optional(),
  /** Of an endpoint: 32 fresh random bytes that the site's direction is signed over. */
  nonce: bytes32.optional(),
  /** Of an endpoint. */
  floors: floors.optional(),
  /** Ends the session that runs elsewhere, when this launch leads to another mode: the way back up. */
  switch: z.boolean().optional(),
})

/** A way to the host: a gateway and the signed admission for it. It opens nothing without the ticket. */
export const route = z.strictObject({ url: z.url(), token: z.string(), expiresAt: instant })
export type Route = z.infer<typeof route>

/** Everything the channel needs (`core/channel`): connect, prove the ticket, and the picture flows. */
export const hostedDelivery = z.strictObject({
  kind: z.literal('hosted'),
  session: sessionView.extend({ host: machine }),
  ticket: bytes32,
  hostKey: bytes32,
  /** Bound into the handshake, base64url. */
  context: z.string(),
  routes: z.array(route).min(1),
})
export type HostedDelivery = z.infer<typeof hostedDelivery>

/** What an endpoint needs for whatever it holds under a lease (`apps/endpoint`). */
const leased = z.strictObject({
  session: sessionView.extend({ endpoint: machine }),
  lease: z.strictObject({
    id: uuid,
    expiresAt: instant,
    /** What is left of it at least, counted from the moment the launch was asked for. */
    leftMs: z.int().min(0),
    overlay: z.enum(overlays),
    /** Shown at the port of agents when the image key is asked for. */
    keyTicket: bytes32,
  }),
  /** As the site says. What the endpoint opens is what `direction` and the release keys say (I4). */
  release: z.strictObject({
    image: label,
    version: label,
    counter: z.int().min(1),
    manifestDigest: z.string(),
  }),
  /** The director's signed word over the launch's nonce (`core/release`). */
  direction: z.string().max(20_000),
  /** Where the image's bytes can be fetched: folders, HTTP servers, registries. */
  stores: z.array(z.string()),
})
/** What every delivery to an endpoint has, whatever it does with the disk. */
export type LeasedDelivery = z.infer<typeof leased>

/** A disk that is mounted, and what is started from it. */
export const diskDelivery = leased.extend({ kind: z.literal('streamed-disk'), application: label })
export type DiskDelivery = z.infer<typeof diskDelivery>

/** A virtual machine, as the signed manifest describes it. */
export const vmDelivery = leased.extend({ kind: z.literal('local-vm') })
export type VmDelivery = z.infer<typeof vmDelivery>

export const delivery = z.discriminatedUnion('kind', [hostedDelivery, diskDelivery, vmDelivery])
export type Delivery = z.infer<typeof delivery>

export const launchAnswer = z.strictObject({ decision, delivery })
/** What a browser gets, which is no endpoint. */
export const hostedLaunchAnswer = z.strictObject({ decision, delivery: hostedDelivery })
export const ticketRequest = z.strictObject({ clientKey: bytes32, evidence: evidence.optional() })

export const explainQuery = z.strictObject({
  workspace: slug,
  user: z.string().max(64).optional(),
  endpoint: z.string().max(64).optional(),
  from: z.string().max(64).optional(),
})
export const explainAnswer = z.strictObject({ decision, lines: z.array(z.string()) })

/** One line of the event stream `/api/v1/events` (server-sent events; `data:` holds this as JSON). */
export const personEvent = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('session'), session: sessionView }),
  /** Something that decisions depend on changed: fetch the workspaces again. */
  z.strictObject({ kind: z.literal('workspaces') }),
  /** For auditors: where data is may have changed. */
  z.strictObject({ kind: z.literal('data') }),
])
export type PersonEvent = z.infer<typeof personEvent>

/** What a host sends the viewer over the channel when the delivery's conditions change. */
export const sessionNotice = z.strictObject({
  state: z.enum(sessionStates),
  rights: z.array(right),
  restrictions: z.array(restriction),
  obligations,
  end: z
    .strictObject({
      code: z.string(),
      reason: z.string(),
      remedy: z.string().optional(),
      unlocks: z.array(unlock),
      at: instant,
    })
    .optional(),
})
export type SessionNotice = z.infer<typeof sessionNotice>

/** What a host sends the viewer besides: a text that was copied in the session is larger than the conditions allow, and was kept there. */
export const copyNotice = z.strictObject({ kind: z.literal('copy-too-large') })
export type CopyNotice = z.infer<typeof copyNotice>
