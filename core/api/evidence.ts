import { z } from 'zod'
import { claimSources } from '#core/trust/words.ts'
import { instant, slug, uuid } from './words.ts'

/** What is known of endpoints, and what their evidence raises alarms about, as people and agents are told of it. */

/** One claim as a decision would see it now. */
export const endpointClaim = z.strictObject({
  name: z.string().max(64),
  /** What people call it. */
  label: z.string().max(100),
  value: z.string().max(64),
  source: z.enum(claimSources),
  ageSec: z.int().min(0),
  /** What it is worth, in a sentence. */
  worth: z.string().max(300),
  /** What the endpoint says of itself, where that is not what counts. */
  selfReported: z.string().max(64).optional(),
  /** What was seen, as the endpoint's collectors put it. */
  detail: z.string().max(700).optional(),
  /** What a person does to reach the best value; absent when it is reached or cannot be. */
  remedy: z.string().max(300).optional(),
})
export type EndpointClaim = z.infer<typeof endpointClaim>

/** A change of an endpoint's claims. */
export const claimChanges = z.strictObject({
  at: instant,
  changes: z.array(
    z.strictObject({ claim: z.string().max(64), from: z.string().max(64), to: z.string().max(64) }),
  ),
})
export type ClaimChanges = z.infer<typeof claimChanges>

export const endpointClaimsAnswer = z.strictObject({
  endpoint: z.strictObject({ id: uuid, name: z.string() }),
  claims: z.array(endpointClaim),
  /** For admins and auditors: its latest changes, the newest first. */
  changes: z.array(claimChanges).optional(),
})

/** What another system of the organisation says of an endpoint. */
export const systemStatement = z.strictObject({
  /** `intune`, `edr`: who says it. */
  system: slug,
  claim: z.string().max(64),
  value: z.string().max(64),
  /** When that system saw it. */
  at: instant,
  /** How long it counts from `at`; a day unless said otherwise. */
  validMinutes: z.int().min(1).max(44_640).optional(),
})
export type SystemStatementRequest = z.infer<typeof systemStatement>
/** Each replaces what its system said of the same claim before. */
export const statementsRequest = z.strictObject({ statements: z.array(systemStatement).min(1).max(100) })
export const statementsAnswer = z.strictObject({
  statements: z.array(systemStatement.omit({ validMinutes: true }).extend({ expiresAt: instant })),
})

export const alarmKinds = ['brake', 'verifier', 'authority', 'releases'] as const
export const alarmView = z.strictObject({
  id: uuid,
  /** `brake`: many devices fell at once, running work is held. `verifier`: evidence is not taken as it should be. `authority`: the site's certificates end soon. `releases`: what people signed does. */
  kind: z.enum(alarmKinds),
  message: z.string().max(1000),
  remedy: z.string().max(1000),
  raisedAt: instant,
  acknowledged: z.strictObject({ at: instant, by: z.string() }).optional(),
})
export type AlarmView = z.infer<typeof alarmView>
export const alarmsAnswer = z.strictObject({ alarms: z.array(alarmView) })

/** How evidence is answered that came over the port for people. */
export const pathEvidenceRequest = z.strictObject({ statement: z.string().max(10_000) })
export const pathChallengeAnswer = z.strictObject({ nonce: z.string().length(43) })
export const pathEvidenceAnswer = z.strictObject({
  /** Whether somebody between the endpoint and the site opens the connection. */
  interception: z.enum(['none', 'detected', 'unknown']),
})
