import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import { listImages, readMetadata } from '#adapters/store-postgres/index.ts'
import {
  channelName,
  channelRequest,
  imageRequest,
  imageView,
  keySet,
  proposalDetail,
  proposals,
  proposalView,
  publicationAnswer,
  publicationRequest,
  releaseRequest,
  releasesView,
  roleName,
  rollbackRequest,
  rootRequest,
  signatureRequest,
} from '#core/api/releases.ts'
import { label } from '#core/api/words.ts'
import { parseMetadataFileName } from '#core/release/index.ts'
import { promote } from '../releases/release-channels.ts'
import {
  type Proposer,
  proposeKeysOf,
  proposeReleaseOf,
  proposeRenewalOf,
  proposeRetirement,
  proposeRollbackOf,
  proposeRootChange,
  registerImage,
  takeSignature,
  withdrawProposal,
} from '../releases/release-proposing.ts'
import { publishRoles } from '../releases/release-publishing.ts'
import { imageViewOf, readProposal, readProposalDetail, releasesViewOf } from '../releases/release-views.ts'
import type { Site } from '../site.ts'
import { notFound } from '../site-error.ts'
import { type Api, adminActor, callerOf } from './api.ts'

const open = { access: 'public' } as const
const admin = { access: 'admin' } as const
const auditor = { access: 'auditor' } as const
const byName = z.strictObject({ name: label })
const byRole = z.strictObject({ role: roleName })
/** A manifest of 64 KiB in base64url. */
const imageBodyBytes = 128 * 1024

/** Images and their releases: what is proposed, signed, published and promoted; and what endpoints read. */
export function releaseRoutes(app: Api, site: Site): void {
  metadataRoutes(app, site)
  imageRoutes(app, site)
  roleRoutes(app, site)
  proposalRoutes(app, site)
  nextReleaseRoutes(app, site)
  publicationRoutes(app, site)
}

/** TUF metadata by its file names (TUF 1.0, section 7.2): signed, and no secret. */
function metadataRoutes(app: Api, site: Site): void {
  const params = z.strictObject({ file: z.string().max(160) })
  app.get(
    '/releases/metadata/:file',
    { config: { ...open, answers: 'application/json' }, schema: { params } },
    async (request, reply) => {
      const file = parseMetadataFileName(request.params.file)
      const bytes = file && (await readMetadata(site.store.db, file.role, file.version))
      if (bytes === undefined) throw notFound('metadata')
      return reply.type('application/json').send(Buffer.from(bytes))
    },
  )
}

function imageRoutes(app: Api, site: Site): void {
  app.post(
    '/images',
    {
      config: admin,
      bodyLimit: imageBodyBytes,
      schema: { body: imageRequest, response: { 201: z.strictObject({ manifestDigest: z.string() }) } },
    },
    async (request, reply) =>
      reply.code(201).send({ manifestDigest: await registerImage(site, request.body, proposerOf(request)) }),
  )
  const images = z.strictObject({ images: z.array(imageView) })
  app.get('/images', { config: auditor, schema: { response: { 200: images } } }, async () => ({
    images: (await listImages(site.store.db)).map(imageViewOf),
  }))
}

/** Who signs. */
function roleRoutes(app: Api, site: Site): void {
  app.get('/releases', { config: auditor, schema: { response: { 200: releasesView } } }, async () =>
    releasesViewOf(site.store.db),
  )
  app.post(
    '/releases/root',
    { config: admin, schema: { body: rootRequest, response: { 201: proposals } } },
    async (request, reply) => {
      const roles = await proposeRootChange(site, request.body, proposerOf(request))
      return reply.code(201).send(await proposalsOf(site, roles))
    },
  )
  app.post(
    '/releases/images/:name/keys',
    { config: admin, schema: { params: byName, body: keySet, response: { 201: proposals } } },
    async (request, reply) => {
      const roles = await proposeKeysOf(site, request.params.name, request.body, proposerOf(request))
      return reply.code(201).send(await proposalsOf(site, roles))
    },
  )
}

/** Whoever holds a key may sign: what counts is the key, not who is signed in. */
function proposalRoutes(app: Api, site: Site): void {
  app.get(
    '/releases/proposals/:role',
    { schema: { params: byRole, response: { 200: proposalDetail } } },
    async ({ params }) => readProposalDetail(site.store.db, params.role),
  )
  app.delete(
    '/releases/proposals/:role',
    { config: admin, schema: { params: byRole, response: { 200: z.strictObject({}) } } },
    async (request) => {
      await withdrawProposal(site, request.params.role, proposerOf(request))
      return {}
    },
  )
  app.post(
    '/releases/proposals/:role/signatures',
    { schema: { params: byRole, body: signatureRequest, response: { 200: proposalView } } },
    async (request) => {
      const { person } = callerOf(request)
      const by = { login: person.login, actor: { type: 'person', id: person.id } } as const
      await takeSignature(site, request.params.role, request.body, by)
      return readProposal(site.store.db, request.params.role)
    },
  )
  app.post(
    '/releases/proposals/:role/renewal',
    { config: admin, schema: { params: byRole, response: { 201: proposalView } } },
    async (request, reply) => {
      await proposeRenewalOf(site, request.params.role, proposerOf(request))
      return reply.code(201).send(await readProposal(site.store.db, request.params.role))
    },
  )
}

function nextReleaseRoutes(app: Api, site: Site): void {
  const answer = { 201: proposalView }
  app.post(
    '/releases/images/:name/releases',
    { config: admin, schema: { params: byName, body: releaseRequest, response: answer } },
    async (request, reply) => {
      const { name } = request.params
      await proposeReleaseOf(site, name, request.body.version, proposerOf(request))
      return reply.code(201).send(await readProposal(site.store.db, name))
    },
  )
  app.post(
    '/releases/images/:name/rollbacks',
    { config: admin, schema: { params: byName, body: rollbackRequest, response: answer } },
    async (request, reply) => {
      const { name } = request.params
      await proposeRollbackOf(site, name, request.body, proposerOf(request))
      return reply.code(201).send(await readProposal(site.store.db, name))
    },
  )
  app.post(
    '/releases/images/:name/retirements',
    { config: admin, schema: { params: byName, body: releaseRequest, response: answer } },
    async (request, reply) => {
      const { name } = request.params
      await proposeRetirement(site, name, request.body.version, proposerOf(request))
      return reply.code(201).send(await readProposal(site.store.db, name))
    },
  )
}

function publicationRoutes(app: Api, site: Site): void {
  app.post(
    '/releases/publications',
    { config: admin, schema: { body: publicationRequest, response: { 201: publicationAnswer } } },
    async (request, reply) => {
      const published = await publishRoles(site, request.body.roles, adminActor(callerOf(request)))
      return reply.code(201).send({ published: [...published] })
    },
  )
  app.put(
    '/releases/images/:name/channels/:channel',
    {
      config: admin,
      schema: {
        params: z.strictObject({ name: label, channel: channelName }),
        body: channelRequest,
        response: { 200: releasesView },
      },
    },
    async (request) => {
      await promote(site, { ...request.params, ...request.body }, adminActor(callerOf(request)))
      return releasesViewOf(site.store.db)
    },
  )
}

async function proposalsOf(site: Site, roles: readonly string[]): Promise<z.infer<typeof proposals>> {
  return { proposals: await Promise.all(roles.map((role) => readProposal(site.store.db, role))) }
}

function proposerOf(request: FastifyRequest): Proposer {
  const caller = callerOf(request)
  return { login: caller.person.login, actor: adminActor(caller) }
}
