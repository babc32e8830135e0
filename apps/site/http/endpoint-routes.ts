import { z } from 'zod'
import {
  allEvidence,
  endpointOwners,
  listAgents,
  openLeases,
  statementsOf,
} from '#adapters/store-postgres/index.ts'
import { imageKeyAnswer, imageKeyRequest } from '#core/api/admin.ts'
import { bootAcceptance, ownerChange } from '#core/api/device-keys.ts'
import { endpointView } from '#core/api/lease.ts'
import { label, uuid } from '#core/api/words.ts'
import { acceptBoot, changeOwner } from '../endpoint-inventory.ts'
import { trustViewOf } from '../evidence-views.ts'
import { depositKey } from '../image-keys.ts'
import type { Site } from '../site.ts'
import { endpointViewOf } from '../views.ts'
import { type Api, adminActor, callerOf } from './api.ts'

const byId = z.strictObject({ id: uuid })
const nothing = z.strictObject({})

/** Enrolled machines with what they hold, and the keys of what they may be given. */
export function endpointRoutes(app: Api, site: Site): void {
  const endpoints = z.strictObject({ endpoints: z.array(endpointView) })
  app.get(
    '/endpoints',
    { config: { access: 'auditor' }, schema: { response: { 200: endpoints } } },
    async () => {
      const { db } = site.store
      const now = site.now()
      const [rows, leases, owners, evidence, statements] = await Promise.all([
        listAgents(db, 'endpoint'),
        openLeases(db),
        endpointOwners(db),
        allEvidence(db),
        statementsOf(db, new Date(now)),
      ])
      const known = new Map(evidence.map((row) => [row.endpoint_id, row]))
      const said = Map.groupBy(statements, (row) => row.endpoint_id)
      return {
        endpoints: rows.map((row) =>
          endpointViewOf(
            row,
            leases,
            owners,
            trustViewOf(known.get(row.id), said.get(row.id) ?? [], now),
            now,
          ),
        ),
      }
    },
  )

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
