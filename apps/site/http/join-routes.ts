import { z } from 'zod'
import { isGroupEmpty } from '#adapters/store-postgres/index.ts'
import { enrolAnswer, enrolRequest } from '#core/api/admin.ts'
import { setupRequest, signInRequest, siteView } from '#core/api/person.ts'
import { thumbprint } from '#core/identity/proof.ts'
import { enrol } from '../endpoints/enrolment.ts'
import { beginWebSession, clearCookie, endWebSession, setCookie } from '../people/signed-in.ts'
import { setUp, signIn } from '../people/signing-in.ts'
import type { Site } from '../site.ts'
import { type Api, callerOf } from './api.ts'

const person = z.strictObject({ id: z.uuid(), login: z.string(), name: z.string() })
const open = { access: 'public' } as const

/** What needs no web session yet: the site's face, signing in, the first admin, machines that join. */
export function joinRoutes(app: Api, site: Site): void {
  app.get('/site', { config: open, schema: { response: { 200: siteView } } }, async () => ({
    name: site.config.name,
    siteId: site.siteId,
    version: site.version,
    needsSetup: await isGroupEmpty(site.store.db, 'admins'),
  }))

  app.post(
    '/web-sessions',
    { config: open, schema: { body: signInRequest, response: { 201: z.strictObject({ person }) } } },
    async (request, reply) => {
      const { login, password, key } = request.body
      const found = await signIn(site, { login, password, address: request.address })
      const token = await beginWebSession(site, found, await thumbprint(key), request.address)
      return reply
        .code(201)
        .header('set-cookie', setCookie(token))
        .send({ person: { id: found.id, login: found.login, name: found.name } })
    },
  )

  app.delete(
    '/web-sessions/current',
    { schema: { response: { 200: z.strictObject({}) } } },
    async (request, reply) => {
      await endWebSession(site, callerOf(request))
      return reply.header('set-cookie', clearCookie()).send({})
    },
  )

  app.post(
    '/setup',
    { config: open, schema: { body: setupRequest, response: { 201: z.strictObject({ person }) } } },
    async (request, reply) => reply.code(201).send({ person: await setUp(site, request.body) }),
  )

  app.get(
    '/authorities',
    { config: { ...open, answers: 'application/x-pem-file' } },
    async (_request, reply) => reply.type('application/x-pem-file').send(site.authority.rootPem),
  )

  app.post(
    '/enrol',
    { config: open, schema: { body: enrolRequest, response: { 201: enrolAnswer } } },
    async (request, reply) => reply.code(201).send(await enrol(site, request.body)),
  )
}
