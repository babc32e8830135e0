import { createHash, randomBytes } from 'node:crypto'
import {
  type AgentRow,
  agentById,
  countOpenHandoffs,
  type HandoffRow,
  insertHandoff,
  noteBrowserEndpoint,
  personById,
  takeHandoff,
  webSessionById,
} from '#adapters/store-postgres/index.ts'
import type { HandedBy, HandoffRequest, RedeemAnswer } from '#core/api/handoff.ts'
import type { Interception } from '../endpoints/proven-endpoint.ts'
import { actorOf, type SignedIn } from '../people/signed-in.ts'
import type { Site } from '../site.ts'
import { notFound, SiteError, type SiteErrorCode } from '../site-error.ts'
import { decideAgain } from './decide-again.ts'
import { workspaceAsked } from './deciding.ts'
import { isOnPortal } from './explaining.ts'
import { type LaunchWish, launch } from './launching.ts'
import { readRules } from './rules.ts'

/**
 * A launch goes from a browser, which cannot hold a disk, to the endpoint that it runs on: the browser is given a code, the endpoint brings it
 * back with its own key's word and is given the delivery, as that person and under the endpoint's circumstances.
 *
 * INVARIANT I5: what a browser says about its machine raises nothing. The code only says whose launch it is; the endpoint proves itself.
 */

export const handoffLifetimeMs = 60_000
/** A portal has one or two under way. */
const maxOpen = 20
const size = { width: 1280, height: 800 }

/**
 * INVARIANT I7: that a code exists is in the audit log before it is told.
 *
 * @throws {SiteError} NOT_FOUND, TOO_FAST
 */
export async function offerHandoff(
  site: Site,
  caller: SignedIn,
  wish: HandoffRequest,
): Promise<{ readonly code: string; readonly expiresAt: string }> {
  const { db } = site.store
  const now = site.now()
  const { workspaceId, endpointId } = wish
  if (workspaceId !== undefined && !(await isOnPortal(site, caller, await workspaceAsked(site, workspaceId))))
    throw notFound('workspace')
  if (endpointId !== undefined && (await agentById(db, endpointId))?.kind !== 'endpoint')
    throw notFound('endpoint')
  // Before anything is written down of it; what counts is asked once more when it is stored.
  if ((await countOpenHandoffs(db, caller.webSession.id, new Date(now))) >= maxOpen) throw tooManyOpen()
  const code = randomBytes(32).toString('base64url')
  const expiresAt = new Date(now + handoffLifetimeMs)
  // Without a workspace nothing can come of it but that the portal shows what this device could open.
  if (workspaceId !== undefined)
    await site.audit.record('handoff-issued', actorOf(caller), undefined, {
      workspace: workspaceId,
      webSession: caller.webSession.id,
      endpoint: endpointId ?? null,
      until: expiresAt.toISOString(),
    })
  const row = {
    code_hash: hashOf(code),
    person_id: caller.person.id,
    web_session_id: caller.webSession.id,
    workspace_id: workspaceId ?? null,
    endpoint_id: endpointId ?? null,
    switch: wish.switch === true,
    made_at: new Date(now),
    expires_at: expiresAt,
  }
  if (!(await insertHandoff(db, row, maxOpen))) throw tooManyOpen()
  return { code, expiresAt: expiresAt.toISOString() }
}

function tooManyOpen(): SiteError {
  return new SiteError('TOO_FAST', 'too many launches of this browser wait for a device', {
    remedy: 'Wait a minute.',
    retryAfter: handoffLifetimeMs / 1000,
  })
}

/** What an endpoint brings beside the code. */
export interface Redemption {
  /** Proven by its key over this very request. */
  readonly endpoint: AgentRow
  /** Whether somebody opens the connection that it asks over. */
  readonly interception: Interception
  readonly deviceKey: 'file' | 'tpm'
  /** From where it asks, as the site sees it. */
  readonly address: string
  readonly code: string
  readonly by: HandedBy
  readonly nonce: string
  readonly floors: LaunchWish['floors']
  readonly clientKey: Uint8Array
}

/**
 * Spends a code, whatever comes of it, and launches as its person from this endpoint.
 *
 * @throws {SiteError} HANDOFF_UNKNOWN, HANDOFF_USED, HANDOFF_EXPIRED, HANDOFF_OTHER_ENDPOINT, HANDOFF_OTHER_OWNER, HANDOFF_NO_OWNER,
 *   NOT_SIGNED_IN, and what `launch` throws
 */
export async function redeemHandoff(site: Site, redemption: Redemption): Promise<RedeemAnswer> {
  const { endpoint, nonce, floors, clientKey } = redemption
  const handoff = await take(site, redemption)
  const holder = await holderOf(site, handoff, redemption)
  await noteBrowserEndpoint(site.store.db, holder.webSession.id, endpoint.id, new Date(site.now()))
  await decideAgain(site, 'evidence', { webSessionId: holder.webSession.id })
  await site.hints.tell({ topic: 'person', id: holder.person.id })
  const { workspace_id: workspaceId } = handoff
  if (workspaceId === null) return { kind: 'met' }
  await site.audit.record('handoff-redeemed', { type: 'endpoint', id: endpoint.id }, holder.person.id, {
    workspace: workspaceId,
    webSession: holder.webSession.id,
  })
  const wish = {
    workspaceId,
    clientKey,
    evidence: [],
    ...size,
    nonce,
    floors,
    atEndpoint: true,
    switch: handoff.switch,
  }
  return { kind: 'launch', ...(await launch(site, holder, wish)) }
}

/** INVARIANT: a code that came to the wrong place is spent, too: whoever has it there should not. */
async function take(site: Site, redemption: Redemption): Promise<HandoffRow> {
  const now = site.now()
  const { endpoint, code } = redemption
  const taken = await takeHandoff(site.store.db, hashOf(code), endpoint.id, new Date(now))
  if (taken.kind === 'unknown') throw refused('HANDOFF_UNKNOWN', 'nobody was given this code')
  const { handoff } = taken
  const why =
    taken.kind === 'used'
      ? refused('HANDOFF_USED', 'this code was used before')
      : wrongFor(handoff, redemption, now)
  if (why === undefined) return handoff
  await site.audit.record('handoff-refused', { type: 'endpoint', id: endpoint.id }, handoff.person_id, {
    code: why.code,
    workspace: handoff.workspace_id,
    webSession: handoff.web_session_id,
  })
  throw why
}

/**
 * INVARIANT I6: who has made a code is at a device only where the site's own page, shown there, has handed it over for that device. Anybody can
 * make an address, with the id of whatever device they know, and have somebody else follow it; and every account of a device can read one while
 * a program is started with it. So by an address a code opens on its person's own device alone.
 */
function wrongFor(handoff: HandoffRow, { endpoint, by }: Redemption, now: number): SiteError | undefined {
  if (handoff.expires_at.getTime() <= now) return refused('HANDOFF_EXPIRED', 'this code is too old')
  const { endpoint_id: meant, person_id: person } = handoff
  if (meant !== null && meant !== endpoint.id)
    return refused('HANDOFF_OTHER_ENDPOINT', 'this code was made for another device')
  if (endpoint.owner_id === person || (meant !== null && by === 'page')) return undefined
  const remedy = 'Open the portal on this device, in a browser that lets it ask the device'
  if (endpoint.owner_id !== null)
    return new SiteError('HANDOFF_OTHER_OWNER', `the device ${endpoint.name} is somebody else's`, {
      remedy: `${remedy}.`,
    })
  return new SiteError('HANDOFF_NO_OWNER', `the device ${endpoint.name} is nobody's own`, {
    remedy: `${remedy}, or have an admin say whose it is.`,
  })
}

/** The person at this endpoint, by the browser's sign-in. Where the two are seen in different zones, the worse one counts. */
async function holderOf(
  site: Site,
  handoff: HandoffRow,
  { endpoint, address, interception, deviceKey }: Redemption,
): Promise<SignedIn> {
  const { db } = site.store
  const [person, webSession, rules] = await Promise.all([
    personById(db, handoff.person_id),
    webSessionById(db, handoff.web_session_id),
    readRules(db),
  ])
  const isOver = webSession === undefined || webSession.expires_at.getTime() <= site.now()
  if (person === undefined || person.disabled || isOver)
    throw new SiteError('NOT_SIGNED_IN', 'the sign-in that this code came from has ended', {
      remedy: 'Sign in.',
    })
  const rank = (where: string): number => ['hostile', 'outside', 'inside'].indexOf(rules.zoneOf(where).kind)
  const worse = rank(webSession.address) < rank(address) ? webSession.address : address
  const signedInAt = webSession.created_at.getTime()
  return {
    person,
    webSession,
    circumstances: { person, signedInAt, address: worse, endpoint, interception, deviceKey },
  }
}

function hashOf(code: string): Buffer {
  return createHash('sha256').update(code).digest()
}

function refused(code: SiteErrorCode, why: string): SiteError {
  return new SiteError(code, why, { remedy: 'Open the workspace anew in the portal.' })
}
