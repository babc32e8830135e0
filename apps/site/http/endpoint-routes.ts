import { z } from 'zod'
import {
  countEndpoints,
  countOpenLeases,
  endpointGroups,
  evidenceOfAll,
  imagesInUse,
  listEndpoints,
  listOpenLeases,
  openLeasesOf,
} from '#adapters/store-postgres/index.ts'
import { imageKeyAnswer, imageKeyRequest } from '#core/api/admin.ts'
import { bootAcceptance, ownerChange } from '#core/api/device-keys.ts'
import {
  endpointsAnswer,
  endpointsQuery,
  imageUseAnswer,
  leasesAnswer,
  leasesQuery,
} from '#core/api/lease.ts'
import { label, uuid } from '#core/api/words.ts'
import { acceptBoot, changeOwner } from '../endpoints/endpoint-inventory.ts'
import { endpointSilenceMs } from '../launches/deciding.ts'
import { endpointViewOf, heldLeaseOf } from '../launches/views.ts'
import { depositKey } from '../releases/image-keys.ts'
import type { Site } from '../site.ts'
import { type Api, adminActor, callerOf, pageOf } from './api.ts'

const byId = z.strictObject({ id: uuid })
const nothing = z.strictObject({})

/** Enrolled machines with what they hold, and the keys of what they may be given. */
export function endpointRoutes(app: Api, site: Site): void {
  app.get(
    '/endpoints',
    {
      config: { access: 'auditor' },
      schema: { querystring: endpointsQuery, response: { 200: endpointsAnswer } },
    },
    async ({ query }) => {
      const { db } = site.store
      const now = site.now()
      const wanted = { ...query, bootChanged: query.boot === 'changed' }
      const [{ rows, next }, count] = await Promise.all([
        pageOf(wanted, (page) => listEndpoints(db, page)),
        countEndpoints(db, wanted, new Date(now - endpointSilenceMs)),
      ])
      const ids = rows.map(({ id }) => id)
      const [leases, evidence] = await Promise.all([openLeasesOf(db, ids), evidenceOfAll(db, ids)])
      const endpoints = rows.map((row) =>
        endpointViewOf(row, leases.get(row.id) ?? [], evidence.get(row.id), now),
      )
      return { endpoints, next, count }
    },
  )

  useRoutes(app, site)
  inventoryRoutes(app, site)

  app.post(
    '/images/:name/key',
    {
      config: { access: 'admin' },
      schema: {
        params: z.strictObject({ name: label }),
        body: imageKeyRequest,
        response: { 201: imageKeyAnswer },
      },
    },
    async (request, reply) => {
      const key = Buffer.from(request.body.key, 'base64url')
      const keyId = await depositKey(site, request.params.name, key, adminActor(callerOf(request)))
      return reply.code(201).send({ keyId })
    },
  )
}

/** What is in use now, and where. */
function useRoutes(app: Api, site: Site): void {
  app.get(
    '/leases',
    {
      config: { access: 'auditor' },
      schema: { querystring: leasesQuery, response: { 200: leasesAnswer } },
    },
    async ({ query }) => {
      const { db } = site.store
      const [{ rows, next }, count] = await Promise.all([
        pageOf(query, (page) => listOpenLeases(db, page)),
        countOpenLeases(db, query),
      ])
      return { leases: rows.map((row) => heldLeaseOf(row, site.now())), next, count }
    },
  )

  app.get(
    '/images/use',
    { config: { access: 'auditor' }, schema: { response: { 200: imageUseAnswer } } },
    async () => {
      const [uses, groups] = await Promise.all([imagesInUse(site.store.db), endpointGroups(site.store.db)])
      return { uses: [...uses], groups: [...groups] }
    },
  )
}

function inventoryRoutes(app: Api, site: Site): void {
  app.post(
    '/admin/endpoints/:id/owner',
    {
      config: { access: 'admin' },
      schema: { params: byId, body: ownerChange, response: { 200: nothing } },
    },
    async (request) => {
      await changeOwner(site, request.params.id, request.body.owner, adminActor(callerOf(request)))
      return {}
    },
  )

  app.post(
    '/admin/endpoints/:id/accept-boot',
    {
      config: { access: 'admin' },
      schema: { params: byId, body: bootAcceptance, response: { 200: nothing } },
    },
    async (request) => {
      await acceptBoot(site, request.params.id, request.body.id, adminActor(callerOf(request)))
      return {}
    },
  )
}
