import { z } from 'zod'
import {
  agentById,
  type EndpointStatementRow,
  evidenceOf,
  statementsOf,
} from '#adapters/store-postgres/index.ts'
import {
  alarmsAnswer,
  endpointClaimsAnswer,
  pathChallengeAnswer,
  pathEvidenceAnswer,
  pathEvidenceRequest,
  statementsAnswer,
  statementsRequest,
} from '#core/api/evidence.ts'
import { uuid } from '#core/api/words.ts'
import { acknowledge, lift, listAlarms } from '../evidence/alarms.ts'
import { forgiveFork } from '../evidence/evidence.ts'
import { trustViewOf } from '../evidence/evidence-views.ts'
import { pathNonce, takePathEvidence } from '../evidence/path-evidence.ts'
import type { Site } from '../site.ts'
import { notFound, SiteError } from '../site-error.ts'
import { makeStatements } from '../system-statements.ts'
import { type Api, adminActor, callerOf } from './api.ts'
import { exporterOf } from './exporter-of.ts'
import { byPersonAtEndpoint } from './openapi.ts'

const byId = z.strictObject({ id: uuid })
const nothing = z.strictObject({})

/** What is known of endpoints, what other systems say of them, and alarms. */
export function evidenceRoutes(app: Api, site: Site): void {
  // Co-signed by the endpoint: what is known of a machine is shown on that machine.
  app.get(
    '/endpoint/claims',
    { schema: { security: byPersonAtEndpoint, response: { 200: endpointClaimsAnswer } } },
    async (request) => {
      const { endpoint } = callerOf(request).circumstances
      if (endpoint === undefined)
        throw new SiteError('ENDPOINT_REFUSED', 'no enrolled device has signed this request', {
          remedy: 'Ask with the command line on an enrolled device.',
        })
      const { changes: _, ...answer } = await claimsAnswer(site, endpoint)
      return answer
    },
  )

  app.get(
    '/endpoints/:id/claims',
    { config: { access: 'auditor' }, schema: { params: byId, response: { 200: endpointClaimsAnswer } } },
    async (request) => claimsAnswer(site, await endpointById(site, request.params.id)),
  )

  app.put(
    '/endpoints/:id/statements',
    {
      config: { access: 'admin' },
      schema: { params: byId, body: statementsRequest, response: { 200: statementsAnswer } },
    },
    async (request) => {
      const actor = adminActor(callerOf(request))
      const rows = await makeStatements(site, request.params.id, request.body.statements, actor)
      return { statements: rows.map(statementView) }
    },
  )

  // What found the fork is forgotten: whichever machine of the key reports first is the endpoint from then on.
  app.delete(
    '/endpoints/:id/fork',
    { config: { access: 'admin' }, schema: { params: byId, response: { 200: nothing } } },
    async (request) => {
      if (!(await forgiveFork(site, request.params.id, adminActor(callerOf(request))))) throw notFound('fork')
      return {}
    },
  )

  pathRoutes(app, site)
  alarmRoutes(app, site)
}

/** For agents that do not get through to their own port; the statement itself proves who speaks. */
function pathRoutes(app: Api, site: Site): void {
  app.post(
    '/endpoints/:id/challenge',
    { config: { access: 'public' }, schema: { params: byId, response: { 200: pathChallengeAnswer } } },
    async (request) => ({ nonce: pathNonce(site, request.params.id) }),
  )

  app.post(
    '/endpoints/:id/evidence',
    {
      config: { access: 'public' },
      schema: { params: byId, body: pathEvidenceRequest, response: { 200: pathEvidenceAnswer } },
    },
    async (request) => ({
      interception: await takePathEvidence(
        site,
        request.params.id,
        request.body.statement,
        exporterOf(site, request),
      ),
    }),
  )
}

function alarmRoutes(app: Api, site: Site): void {
  app.get(
    '/alarms',
    { config: { access: 'auditor' }, schema: { response: { 200: alarmsAnswer } } },
    async () => ({ alarms: [...(await listAlarms(site))] }),
  )

  for (const [path, deed] of [
    ['/alarms/:id/acknowledge', acknowledge],
    ['/alarms/:id/lift', lift],
  ] as const)
    app.post(
      path,
      { config: { access: 'admin' }, schema: { params: byId, response: { 200: nothing } } },
      async (request) => {
        const caller = callerOf(request)
        await deed(site, request.params.id, caller.person.name, adminActor(caller))
        return {}
      },
    )
}

async function claimsAnswer(
  site: Site,
  { id, name }: { readonly id: string; readonly name: string },
): Promise<z.infer<typeof endpointClaimsAnswer>> {
  const now = site.now()
  const { db } = site.store
  const [row, statements] = await Promise.all([evidenceOf(db, id), statementsOf(db, new Date(now), id)])
  return { endpoint: { id, name }, ...trustViewOf(row, statements, now) }
}

async function endpointById(site: Site, id: string) {
  const endpoint = await agentById(site.store.db, id)
  if (endpoint?.kind !== 'endpoint') throw notFound('endpoint')
  return endpoint
}

function statementView({ system, claim, value, at, expires_at }: EndpointStatementRow) {
  return { system, claim, value, at: at.toISOString(), expiresAt: expires_at.toISOString() }
}
