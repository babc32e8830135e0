import { z } from 'zod'
import { liveSessions, type SessionDetail, sessionById } from '#adapters/store-postgres/index.ts'
import {
  explainAnswer,
  explainQuery,
  hostedDelivery,
  launchAnswer,
  launchRequest,
  me,
  route,
  sessionView,
  ticketRequest,
  workspaceView,
} from '#core/api/person.ts'
import { uuid } from '#core/api/words.ts'
import type { Claim } from '#core/trust/index.ts'
import { isHosted, routesTo } from '../launches/delivering.ts'
import { explain, listWorkspacesFor, whatIsKnown } from '../launches/explaining.ts'
import { launch, reconnect } from '../launches/launching.ts'
import { finishSession } from '../launches/live-sessions.ts'
import { sessionViewOf } from '../launches/views.ts'
import { actorOf, isAdmin, type SignedIn } from '../people/signed-in.ts'
import type { Site } from '../site.ts'
import { notFound } from '../site-error.ts'
import { type Api, callerOf } from './api.ts'

const byId = z.strictObject({ id: uuid })
const defaultSize = { width: 1280, height: 800 }

/** What a person does: see what they may open, open it, come back to it, end it. */
export function personRoutes(app: Api, site: Site): void {
  app.get('/me', { schema: { response: { 200: me } } }, async (request) =>
    whatIsKnown(site, callerOf(request)),
  )

  app.get(
    '/workspaces',
    { schema: { response: { 200: z.strictObject({ workspaces: z.array(workspaceView) }) } } },
    async (request) => ({
      workspaces: [...(await listWorkspacesFor(site, callerOf(request)))],
    }),
  )

  app.get(
    '/explain',
    { schema: { querystring: explainQuery, response: { 200: explainAnswer } } },
    async (request) => explain(site, callerOf(request), request.query),
  )

  app.post(
    '/launches',
    { schema: { body: launchRequest, response: { 201: launchAnswer } } },
    async (request, reply) => {
      const { workspaceId, clientKey, evidence, nonce, floors, ...size } = request.body
      const answer = await launch(site, callerOf(request), {
        workspaceId,
        clientKey: Buffer.from(clientKey, 'base64url'),
        evidence: claimsOf(evidence, site.now()),
        width: size.width ?? defaultSize.width,
        height: size.height ?? defaultSize.height,
        nonce,
        floors,
        ...(request.body.switch === undefined ? {} : { switch: request.body.switch }),
      })
      return reply.code(201).send(answer)
    },
  )

  sessionRoutes(app, site)
}

function sessionRoutes(app: Api, site: Site): void {
  app.get(
    '/sessions',
    { schema: { response: { 200: z.strictObject({ sessions: z.array(sessionView) }) } } },
    async (request) => {
      const sessions = await liveSessions(site.store.db, { personId: callerOf(request).person.id })
      return { sessions: sessions.map(sessionViewOf) }
    },
  )

  app.get('/sessions/:id', { schema: { params: byId, response: { 200: sessionView } } }, async (request) =>
    sessionViewOf(await visibleSession(site, callerOf(request), request.params.id)),
  )

  app.post(
    '/sessions/:id/tickets',
    {
      schema: {
        params: byId,
        body: ticketRequest,
        response: { 201: z.strictObject({ delivery: hostedDelivery }) },
      },
    },
    async (request, reply) => {
      const { clientKey, evidence } = request.body
      const wish = {
        clientKey: Buffer.from(clientKey, 'base64url'),
        evidence: claimsOf(evidence, site.now()),
      }
      return reply
        .code(201)
        .send({ delivery: await reconnect(site, callerOf(request), request.params.id, wish) })
    },
  )

  app.get(
    '/sessions/:id/routes',
    { schema: { params: byId, response: { 200: z.strictObject({ routes: z.array(route) }) } } },
    async (request) => {
      const caller = callerOf(request)
      const session = await visibleSession(site, caller, request.params.id)
      if (session.person_id !== caller.person.id || session.state === 'ended' || !isHosted(session))
        throw notFound('session')
      return { routes: [...(await routesTo(site, session))] }
    },
  )

  endRoute(app, site)
}

function endRoute(app: Api, site: Site): void {
  app.delete(
    '/sessions/:id',
    { schema: { params: byId, response: { 200: sessionView } } },
    async (request) => {
      const caller = callerOf(request)
      const session = await visibleSession(site, caller, request.params.id)
      const own = session.person_id === caller.person.id
      const end = own
        ? { code: 'SESSION_CLOSED', reason: 'You ended it' }
        : { code: 'SESSION_CLOSED_BY_ADMIN', reason: `${caller.person.name} ended it` }
      await finishSession(
        site,
        session.id,
        end,
        own ? actorOf(caller) : { type: 'admin', id: caller.person.id },
      )
      return sessionViewOf(await visibleSession(site, caller, session.id))
    },
  )
}

/** A person sees their own sessions, an admin everybody's. Anybody else's does not exist. */
async function visibleSession(site: Site, caller: SignedIn, id: string): Promise<SessionDetail> {
  const session = await sessionById(site.store.db, id)
  if (session === undefined || (session.person_id !== caller.person.id && !isAdmin(caller)))
    throw notFound('session')
  return session
}

/** INVARIANT I5: whatever a client says of itself is `self`. */
function claimsOf(
  evidence: readonly { readonly name: string; readonly value: string }[] | undefined,
  now: number,
): readonly Claim[] {
  return (evidence ?? []).map(({ name, value }) => ({ name, value, source: 'self', observedAt: now }))
}
