import { z } from 'zod'
import { listAgents, openLeases } from '#adapters/store-postgres/index.ts'
import { imageKeyAnswer, imageKeyRequest } from '#core/api/admin.ts'
import { endpointView } from '#core/api/lease.ts'
import { label } from '#core/api/words.ts'
import { depositKey } from '../image-keys.ts'
import type { Site } from '../site.ts'
import { endpointViewOf } from '../views.ts'
import { type Api, adminActor, callerOf } from './api.ts'

/** Enrolled machines with what they hold, and the keys of what they may be given. */
export function endpointRoutes(app: Api, site: Site): void {
  const endpoints = z.strictObject({ endpoints: z.array(endpointView) })
  app.get(
    '/endpoints',
    { config: { access: 'auditor' }, schema: { response: { 200: endpoints } } },
    async () => {
      const [rows, leases] = await Promise.all([
        listAgents(site.store.db, 'endpoint'),
        openLeases(site.store.db),
      ])
      return { endpoints: rows.map((row) => endpointViewOf(row, leases, site.now())) }
    },
  )

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
