import { z } from 'zod'
import { deliveryModes } from '#core/trust/words.ts'
import { formerIdentity, quoteWithoutLog, tpmActivation } from './device-keys.ts'
import { bytes32, decision, deliveryMode, instant, label, nextPage, slug, uuid } from './words.ts'

/** What admins and auditors exchange with the site. */

export const hostView = z.strictObject({
  id: uuid,
  name: z.string(),
  online: z.boolean(),
  pool: slug,
  draining: z.boolean(),
  capacity: z.int(),
  sessions: z.int(),
  warm: z.int(),
  cpuPercent: z.number(),
  memoryFreeMiB: z.number(),
  lastSeenAt: instant.optional(),
  certificateExpiresAt: instant,
  revoked: z.boolean(),
})
export type HostView = z.infer<typeof hostView>

export const gatewayView = z.strictObject({
  id: uuid,
  name: z.string(),
  online: z.boolean(),
  url: z.string(),
  connections: z.int(),
  lastSeenAt: instant.optional(),
  certificateExpiresAt: instant,
  revoked: z.boolean(),
})
export type GatewayView = z.infer<typeof gatewayView>

export const decisionRecord = z.strictObject({
  id: uuid,
  at: instant,
  person: z.strictObject({ id: uuid, login: z.string(), name: z.string() }),
  workspaceId: slug,
  cause: z.enum(['launch', 'reconnect', 'group', 'zone', 'policy', 'evidence', 'sweep']),
  sessionId: uuid.optional(),
  zone: z.string(),
  decision,
  /** Position in the audit log. */
  auditIndex: z.string(),
})
export type DecisionRecord = z.infer<typeof decisionRecord>

export const personView = z.strictObject({
  id: uuid,
  login: z.string(),
  name: z.string(),
  groups: z.array(slug),
  disabled: z.boolean(),
})
export type PersonView = z.infer<typeof personView>
/** By login. */
export const peopleAnswer = z.strictObject({
  people: z.array(personView),
  next: nextPage,
  /** How many the search finds. */
  count: z.int(),
  /** That anybody is in. */
  groups: z.array(slug),
  /** That give something: the policy in force names them, or the site itself. */
  groupsThatCount: z.array(slug),
})
export const personCreate = z.strictObject({
  login: z.string().regex(/^[a-z][a-z0-9._-]{0,31}$/),
  name: z.string().min(1).max(100),
  password: z.string().max(1024),
  groups: z.array(slug).max(100),
})

/** What becomes of what a person, or people in a workspace, have written. */
export const deletionQuery = z.strictObject({ data: z.enum(['keep', 'discard']).default('keep') })
/** What a deletion leads to, or would. */
export const deletionView = z.strictObject({
  /** On hosts, which end. */
  sessions: z.int(),
  /** Of endpoints, which are withdrawn; their sessions end. */
  leases: z.int(),
  /** What closed leases have left on endpoints, sealed and without a key: kept, or discarded by each when it hears of that. */
  overlays: z.strictObject({
    count: z.int(),
    sizeBytes: z.int(),
    /** On endpoints that cannot be told: revoked, or with a program that is too old. */
    outOfReach: z.int(),
  }),
  /** In the data centre: kept or discarded. */
  replicas: z.strictObject({ count: z.int(), sizeBytes: z.int() }),
  /** Of a person. */
  person: z
    .strictObject({
      /** That become nobody's. */
      endpoints: z.int(),
      /** Whose home is on these hosts: kept, or removed by each when it hears of that. */
      account: z.string(),
      hosts: z.array(z.string()),
      /** Of them those that cannot be told: revoked, or with a program that is too old. */
      hostsOutOfReach: z.array(z.string()),
    })
    .optional(),
})
export type DeletionView = z.infer<typeof deletionView>

export const personPatch = z.strictObject({
  name: z.string().min(1).max(100).optional(),
  groups: z.array(slug).max(100).optional(),
  disabled: z.boolean().optional(),
  password: z.string().max(1024).optional(),
})

export const program = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('desktop') }),
  z.strictObject({
    kind: z.literal('application'),
    command: z.array(z.string().min(1).max(1000)).min(1).max(50),
  }),
])
export const workspaceDefinition = z.strictObject({
  id: slug,
  name: z.string().min(1).max(100),
  description: z.string().max(500),
  icon: z.string().max(40),
  /** Whose hosts serve it. */
  pool: slug.default('default'),
  /** In order of preference. */
  modes: z.array(deliveryMode).min(1).max(deliveryModes.length),
  collections: z.array(slug).max(20),
  program,
  /** What `streamed-disk` and `local-vm` deliver. */
  disk: z
    .strictObject({
      image: label,
      /** Which of the image's releases: the one that this channel points at. */
      channel: z.enum(['test', 'production']),
      /** What `streamed-disk` starts from the disk, by the name that the signed release gives it. */
      application: label.optional(),
    })
    .optional(),
})
export type WorkspaceDefinition = z.infer<typeof workspaceDefinition>

/** A definition as admins send it. */
export const workspaceRequest: typeof workspaceDefinition = workspaceDefinition.refine(
  ({ modes, disk }) =>
    (disk !== undefined || !modes.includes('local-vm')) &&
    (disk?.application !== undefined || !modes.includes('streamed-disk')),
  {
    path: ['disk'],
    error:
      'the mode streamed-disk needs `disk`: image, channel and application; local-vm needs image and channel',
  },
)

export const zoneDefinition = z.strictObject({
  name: slug,
  kind: z.enum(['inside', 'outside', 'hostile']),
  networks: z.array(z.string().max(64)).max(1000),
  /** Who arrives from here came through the organisation's VPN. */
  vpn: z.boolean().optional(),
  /** Without a fresh word of this beacon the zone counts as outside. */
  beacon: z
    .strictObject({
      /** Ed25519 public key, as `trustcast beacon` prints it. */
      key: bytes32,
      url: z.url({ protocol: /^tls$/ }).max(300),
      maxRttMs: z.number().min(0.1).max(1000),
    })
    .optional(),
})
export type ZoneDefinition = z.infer<typeof zoneDefinition>

export const policyView = z.strictObject({
  text: z.string(),
  digest: z.string(),
  activatedAt: instant,
  activatedBy: z.string(),
})
export const policyPut = z.strictObject({ text: z.string().max(1_000_000) })

export const tokenRequest = z.strictObject({
  kind: z.enum(['host', 'gateway', 'endpoint']),
  name: slug,
  /** Of a host: the set of like desktops that it serves. Of an endpoint: its group, which releases can reach first. */
  pool: slug.optional(),
  /** Names and addresses by which people reach a gateway; its certificate will hold these. */
  addresses: z
    .array(z.string().regex(/^[A-Za-z0-9.:-]{1,253}$/))
    .max(20)
    .optional(),
})
export const tokenAnswer = z.strictObject({ token: z.string(), expiresAt: instant })

/** Joining of a host, gateway or endpoint with its single-use token. */
export const enrolRequest = z.strictObject({
  token: z.string().max(300),
  request: z.string().max(10_000),
  /** Of an endpoint with a TPM. */
  activation: tpmActivation.optional(),
  /** Of a machine that is enrolled again. */
  formerly: formerIdentity.optional(),
})
export type EnrolRequest = z.infer<typeof enrolRequest>
export const enrolAnswer = z.strictObject({
  id: uuid,
  siteId: z.string(),
  /** PEM chain: leaf, intermediate. */
  certificate: z.string(),
  authorities: z.string(),
  agentUrl: z.string(),
  /** Ed25519 public key (raw, base64url) of the site's director: endpoints use no release but what it directs. */
  directorKey: bytes32,
  /** Newest root of the release roles, base64url: what an endpoint trusts first. Absent while nobody has signed one. */
  releaseRoot: z.string().max(80_000).optional(),
})
export const renewRequest = z.strictObject({
  request: z.string().max(10_000),
  /** Of an endpoint with a TPM: a quote over the request. */
  attestation: quoteWithoutLog.optional(),
})
export const renewAnswer = z.strictObject({ certificate: z.string() })

/** The secret of an image family, for the site to hand out under leases. It is never read back. */
export const imageKeyRequest = z.strictObject({ key: bytes32 })
export const imageKeyAnswer = z.strictObject({
  /** Names the key and says nothing about it; the image's manifests have it. */
  keyId: z.string(),
})
