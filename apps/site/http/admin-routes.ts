import { z } from 'zod'
import {
  activePolicy,
  countLiveSessions,
  countPeople,
  groupsInUse,
  listAgents,
  listDecisions,
  listLiveSessions,
  listPeople,
  listWorkspaces,
  type PolicyRow,
  personById,
  readZones,
  workspaceById,
} from '#adapters/store-postgres/index.ts'
import {
  decisionRecord,
  gatewayView,
  hostView,
  peopleAnswer,
  personCreate,
  personPatch,
  personView,
  policyPut,
  policyView,
  tokenAnswer,
  tokenRequest,
  workspaceDefinition,
  workspaceRequest,
  zoneDefinition,
} from '#core/api/admin.ts'
import { sessionsAnswer } from '#core/api/person.ts'
import { pageQuery, slug, uuid } from '#core/api/words.ts'
import { groupsNamed } from '#core/policy/index.ts'
import { createEnrolmentToken, revoke } from '../endpoints/enrolment.ts'
import { readRules } from '../launches/rules.ts'
import {
  decisionRecordOf,
  gatewayViewOf,
  hostViewOf,
  personViewOf,
  sessionViewOf,
} from '../launches/views.ts'
import {
  activatePolicy,
  changePerson,
  changeZones,
  createPerson,
  defineWorkspace,
  drainHost,
} from '../people/administering.ts'
import { adminGroup, auditorGroup } from '../people/signed-in.ts'
import type { Site } from '../site.ts'
import { notFound } from '../site-error.ts'
import { type Api, adminActor, callerOf, pageOf } from './api.ts'
import { deletionRoutes } from './deletion-routes.ts'
import { entityTag, preconditions, requireBasis } from './preconditions.ts'

const admin = { access: 'admin' } as const
const auditor = { access: 'auditor' } as const
/** A policy or a list of networks may be long. */
const largeBodyBytes = 2 * 1024 * 1024
const byId = z.strictObject({ id: uuid })
const zones = z.strictObject({ zones: z.array(zoneDefinition).max(200) })
const zonesRequest = zones.superRefine((body, context) => {
  for (const [at, { name }] of body.zones.entries())
    if (body.zones.findIndex((other) => other.name === name) < at)
      context.addIssue({
        code: 'custom',
        path: ['zones', at, 'name'],
        message: `another zone is called ${name}`,
      })
})

/** What admins do and auditors look at. */
export function adminRoutes(app: Api, site: Site): void {
  watchRoutes(app, site)
  machineRoutes(app, site)
  peopleRoutes(app, site)
  rulesRoutes(app, site)
  workspaceRoutes(app, site)
  deletionRoutes(app, site)
}

function watchRoutes(app: Api, site: Site): void {
  app.get(
    '/admin/sessions',
    { config: auditor, schema: { querystring: pageQuery, response: { 200: sessionsAnswer } } },
    async ({ query }) => {
      const { db } = site.store
      const [{ rows, next }, count] = await Promise.all([
        pageOf(query, (page) => listLiveSessions(db, page)),
        countLiveSessions(db, query),
      ])
      return { sessions: rows.map(sessionViewOf), next, count }
    },
  )

  const page = z.strictObject({
    limit: z.coerce.number().int().min(1).max(200).default(50),
    before: uuid.optional(),
  })
  app.get(
    '/admin/decisions',
    {
      config: auditor,
      schema: {
        querystring: page,
        response: { 200: z.strictObject({ decisions: z.array(decisionRecord) }) },
      },
    },
    async ({ query }) => ({
      decisions: (await listDecisions(site.store.db, query)).map(decisionRecordOf),
    }),
  )
}

function machineRoutes(app: Api, site: Site): void {
  const machines = z.strictObject({ hosts: z.array(hostView), gateways: z.array(gatewayView) })
  app.get('/admin/hosts', { config: auditor, schema: { response: { 200: machines } } }, async () => {
    const [hosts, gateways] = await Promise.all([
      listAgents(site.store.db, 'host'),
      listAgents(site.store.db, 'gateway'),
    ])
    return {
      hosts: hosts.map((row) => hostViewOf(row, site.now())),
      gateways: gateways.map((row) => gatewayViewOf(row, site.now())),
    }
  })

  app.post(
    '/admin/hosts/:id/drain',
    {
      config: admin,
      schema: {
        params: byId,
        body: z.strictObject({ draining: z.boolean() }),
        response: { 200: z.strictObject({}) },
      },
    },
    async (request) => {
      await drainHost(site, request.params.id, request.body.draining, adminActor(callerOf(request)))
      return {}
    },
  )

  app.post(
    '/admin/agents/:id/revoke',
    { config: admin, schema: { params: byId, response: { 200: z.strictObject({}) } } },
    async (request) => {
      await revoke(site, request.params.id, adminActor(callerOf(request)))
      return {}
    },
  )

  app.post(
    '/admin/enrolment-tokens',
    { config: admin, schema: { body: tokenRequest, response: { 201: tokenAnswer } } },
    async (request, reply) => {
      const { kind, name, pool = 'default', addresses = [] } = request.body
      return reply
        .code(201)
        .send(
          await createEnrolmentToken(site, { kind, name, pool, addresses }, adminActor(callerOf(request))),
        )
    },
  )
}

function peopleRoutes(app: Api, site: Site): void {
  app.get(
    '/admin/people',
    { config: admin, schema: { querystring: pageQuery, response: { 200: peopleAnswer } } },
    async ({ query }) => {
      const { db } = site.store
      const [{ rows, next }, count, groups, { policy }] = await Promise.all([
        pageOf(query, (page) => listPeople(db, page)),
        countPeople(db, query),
        groupsInUse(db),
        readRules(db),
      ])
      return {
        people: rows.map(personViewOf),
        next,
        count,
        groups: [...groups],
        // A policy may name what no group can be called.
        groupsThatCount: [adminGroup, auditorGroup, ...groupsNamed(policy.policies.values())].filter(
          (group) => slug.safeParse(group).success,
        ),
      }
    },
  )

  app.post(
    '/admin/people',
    { config: admin, schema: { body: personCreate, response: { 201: personView } } },
    async (request, reply) =>
      reply
        .code(201)
        .send(personViewOf(await createPerson(site, request.body, adminActor(callerOf(request))))),
  )

  app.patch(
    '/admin/people/:id',
    { config: admin, schema: { params: byId, body: personPatch, response: { 200: personView } } },
    async (request) =>
      personViewOf(await changePerson(site, request.params.id, request.body, adminActor(callerOf(request)))),
  )

  app.get(
    '/admin/people/:id',
    { config: admin, schema: { params: byId, response: { 200: personView } } },
    async ({ params }, reply) => {
      const row = await personById(site.store.db, params.id)
      if (row === undefined) throw notFound('person')
      const person = personViewOf(row)
      return reply.header('etag', entityTag(person)).send(person)
    },
  )
}

function policyViewOf(row: PolicyRow): z.infer<typeof policyView> {
  return {
    text: row.text,
    digest: row.digest,
    activatedAt: row.activated_at.toISOString(),
    activatedBy: row.activated_by,
  }
}

function rulesRoutes(app: Api, site: Site): void {
  const { db } = site.store
  const readPolicy = async (): Promise<z.infer<typeof policyView>> => {
    const row = await activePolicy(db)
    if (row === undefined) throw notFound('policy')
    return policyViewOf(row)
  }
  app.get(
    '/admin/policy',
    { config: auditor, schema: { response: { 200: policyView } } },
    async (_request, reply) => {
      const policy = await readPolicy()
      return reply.header('etag', entityTag(policy)).send(policy)
    },
  )
  app.put(
    '/admin/policy',
    {
      config: admin,
      bodyLimit: largeBodyBytes,
      schema: { headers: preconditions, body: policyPut, response: { 200: policyView } },
    },
    async (request) => {
      const caller = callerOf(request)
      await activatePolicy(site, request.body.text, caller.person.login, adminActor(caller), async () =>
        requireBasis(request.headers, 'the policy', await activePolicy(db), policyViewOf),
      )
      return readPolicy()
    },
  )

  const allZones = async (): Promise<z.infer<typeof zones>> => ({ zones: [...((await readZones(db)) ?? [])] })
  app.get(
    '/admin/zones',
    { config: auditor, schema: { response: { 200: zones } } },
    async (_request, reply) => {
      const all = await allZones()
      return reply.header('etag', entityTag(all)).send(all)
    },
  )
  app.put(
    '/admin/zones',
    {
      config: admin,
      bodyLimit: largeBodyBytes,
      schema: { headers: preconditions, body: zonesRequest, response: { 200: zones } },
    },
    async (request) => {
      await changeZones(site, request.body.zones, adminActor(callerOf(request)), async () =>
        requireBasis(request.headers, 'the networks', (await readZones(db)) ?? [], (zones) => ({ zones })),
      )
      return allZones()
    },
  )
}

function workspaceRoutes(app: Api, site: Site): void {
  const { db } = site.store
  const bySlug = z.strictObject({ id: slug })
  app.get(
    '/admin/workspaces',
    {
      config: auditor,
      schema: { response: { 200: z.strictObject({ workspaces: z.array(workspaceDefinition) }) } },
    },
    async () => ({
      workspaces: [...(await listWorkspaces(db))],
    }),
  )
  app.get(
    '/admin/workspaces/:id',
    { config: auditor, schema: { params: bySlug, response: { 200: workspaceDefinition } } },
    async ({ params }, reply) => {
      const workspace = await workspaceById(db, params.id)
      if (workspace === undefined) throw notFound('workspace')
      return reply.header('etag', entityTag(workspace)).send(workspace)
    },
  )
  app.put(
    '/admin/workspaces/:id',
    {
      config: admin,
      schema: {
        params: bySlug,
        headers: preconditions,
        body: workspaceRequest,
        response: { 200: workspaceDefinition },
      },
    },
    async (request) => {
      const { id } = request.params
      return defineWorkspace(site, { ...request.body, id }, adminActor(callerOf(request)), async () =>
        requireBasis(request.headers, `the workspace ${id}`, await workspaceById(db, id)),
      )
    },
  )
}
