import { randomBytes } from 'node:crypto'
import { pino } from 'pino'
import { type EndpointAgent, startEndpointAgent } from '#apps/endpoint/endpoint-agent.ts'
import { toldFloors } from '#apps/endpoint/told-floors.ts'
import { callJson } from '#apps/site-client/call.ts'
import { type Delivery, launchAnswer } from '#core/api/person.ts'
import type { DecisionView } from '#core/api/words.ts'
import { type CryptoKeyPair, exportPublic, generateX25519 } from '#core/channel/index.ts'
import type { Login } from './login-file.ts'
import { endpointDir } from './this-endpoint.ts'
import { version } from './version.ts'

/** For the site to take note of this machine before it is asked to deliver to it. */
const connectMs = 5_000

/** This machine's agent, where the login is one of an endpoint. It holds the leases of what is launched. */
export async function startAgentHere({ credentials }: Login): Promise<EndpointAgent | undefined> {
  if (credentials.endpoint === undefined) return undefined
  const log = pino({ name: 'endpoint', level: 'silent' })
  const agent = await startEndpointAgent({ dir: endpointDir(), version: version(), log })
  await agent.untilConnected(connectMs)
  return agent
}

export interface Launched {
  readonly delivery: Delivery
  readonly decision: DecisionView
  /** The client's end of a channel, if it is a hosted one. */
  readonly keyPair: CryptoKeyPair
  /** What the site's director answers to, if it is a disk. */
  readonly nonce: string
  /** On the agent's clock, from before the launch was asked for. */
  readonly askedAt: number
}

/**
 * @param signal ends it before the site is asked. After that the answer is waited for: what it brings must be given back.
 * @throws {ApiRefusal} LAUNCH_REFUSED and others of the site; {SiteAwayError} SITE_AWAY
 */
export async function launchHere(
  { site, credentials }: Login,
  agent: EndpointAgent | undefined,
  workspaceId: string,
  signal?: AbortSignal,
): Promise<Launched> {
  const keyPair = await generateX25519()
  const clientKey = Buffer.from(await exportPublic(keyPair.publicKey)).toString('base64url')
  const nonce = randomBytes(32).toString('base64url')
  const atEndpoint = agent === undefined ? {} : { nonce, floors: await toldFloors(endpointDir()) }
  const body = { workspaceId, clientKey, ...atEndpoint }
  signal?.throwIfAborted()
  const askedAt = agent?.steadyMs() ?? 0
  const request = { method: 'POST', path: '/api/v1/launches', body }
  const { delivery, decision } = await callJson(site, request, launchAnswer, credentials)
  return { delivery, decision, keyPair, nonce, askedAt }
}
