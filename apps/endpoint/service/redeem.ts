import { randomBytes, webcrypto } from 'node:crypto'
import { call, type SiteAddress } from '#apps/site-client/call.ts'
import { type HandedBy, type RedeemAnswer, redeemAnswer } from '#core/api/handoff.ts'
import { exportPublic, generateX25519 } from '#core/channel/index.ts'
import { type EndpointAgent, readEndpointCredentials } from '../endpoint-agent.ts'
import { toldFloors } from '../told-floors.ts'

/** What a code brought, with what the endpoint put beside it. */
export interface Redeemed {
  readonly answer: RedeemAnswer
  /** What the site's director answers to. */
  readonly nonce: string
  /** On the agent's clock, from before the site was asked. */
  readonly askedAt: number
}

export type Redeem = (code: string, by: HandedBy) => Promise<Redeemed>

/**
 * Brings codes to the site, signed by this endpoint. The proof that the endpoint co-signs needs a key, as a person's does; nobody is signed in
 * here, so each request has one of its own.
 *
 * @throws {ApiRefusal} with the site's code; {SiteAwayError} SITE_AWAY
 */
export function redeemer(agent: EndpointAgent, dir: string, site: SiteAddress): Redeem {
  return async (code, by) => {
    const { publicKey } = await generateX25519()
    const clientKey = Buffer.from(await exportPublic(publicKey)).toString('base64url')
    const nonce = randomBytes(32).toString('base64url')
    const keyPair = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, [
      'sign',
      'verify',
    ])
    const credentials = { cookie: '', keyPair, endpoint: await readEndpointCredentials(dir) }
    const body = { code, by, nonce, clientKey, floors: await toldFloors(dir) }
    const askedAt = agent.steadyMs()
    const request = { method: 'POST', path: '/api/v1/handoffs/redeem', body }
    const { body: answer } = await call(site, request, credentials)
    return { answer: redeemAnswer.parse(JSON.parse(String(answer))), nonce, askedAt }
  }
}
