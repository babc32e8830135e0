import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import type { Server, Socket } from 'node:net'
import type { SecureContextOptions } from 'node:tls'
import fastifySwagger from '@fastify/swagger'
import Fastify, { type FastifyError, type FastifyInstance, type FastifyRequest } from 'fastify'
import { unattendedHeader } from '#core/api/unattended.ts'
import { clientAddress, formatAddress } from '#core/trust/index.ts'
import {
  createAuthenticate,
  isAdmin,
  isAuditor,
  notSignedIn,
  readCookie,
  type SignedIn,
} from '../people/signed-in.ts'
import type { Site } from '../site.ts'
import { SiteError } from '../site-error.ts'
import { adminRoutes } from './admin-routes.ts'
import { type Access, type Api, withZod } from './api.ts'
import { auditRoutes } from './audit-routes.ts'
import { consoleRoutes } from './console-routes.ts'
import { dataRoutes } from './data-routes.ts'
import { endpointRoutes } from './endpoint-routes.ts'
import { enrolmentRoutes } from './enrolment-routes.ts'
import { errorAnswer } from './error-answer.ts'
import { eventRoutes } from './event-routes.ts'
import { evidenceRoutes } from './evidence-routes.ts'
import { exporterOf } from './exporter-of.ts'
import { handoffRoutes } from './handoff-routes.ts'
import { healthRoutes } from './health-routes.ts'
import { joinRoutes } from './join-routes.ts'
import { describeApi, withErrors } from './openapi.ts'
import { personRoutes } from './person-routes.ts'
import { releaseRoutes } from './release-routes.ts'

const maxPassedOverBytes = 8 * 1024 * 1024
const passOverMs = 5_000
const maxConnections = 20_000
const maxConnectionsPerSource = 2_000
/** Of a route that does not say otherwise; a stranger's body is read before anybody knows who sent it. */
const maxBodyBytes = 64 * 1024

/** The port that people's browsers and command lines reach: the API under `/api/v1` and the console. */
export async function createPeoplePort(
  site: Site,
  tls: SecureContextOptions,
  consoleDir: string,
): Promise<FastifyInstance> {
  const bare = Fastify({
    https: tls,
    loggerInstance: site.log.child({ part: 'http' }),
    disableRequestLogging: true,
    bodyLimit: maxBodyBytes,
    connectionTimeout: 60_000,
    requestTimeout: 20_000,
    trustProxy: false,
    forceCloseConnections: true,
    // A path that is no path meets neither hooks nor handlers.
    frameworkErrors: (error, request, { raw }) => void refusePath(error, request.raw, raw),
  })
  const app = withZod(bare as unknown as FastifyInstance)
  boundConnections(app.server)
  keepRawBody(app)
  const isLocal = new URL(site.origin).hostname === 'localhost'
  app.addHook('onRequest', async (request, reply) => {
    request.address = seenAddress(site, request)
    for (const [name, value] of securityHeaders) reply.header(name, value)
    // It would bind every server of that name, and on a machine of one's own these are others', too.
    if (!isLocal) reply.header('strict-transport-security', 'max-age=31536000')
    requireOwnOrigin(site, request)
    requireCookie(request)
  })
  requireCallers(app, site)
  answerErrors(app, site)
  await addRoutes(app, site)
  await consoleRoutes(app, site, consoleDir)
  return app
}

/** Every route but those marked `public` is for somebody who is signed in, and proves it anew. */
function requireCallers(app: Api, site: Site): void {
  const authenticate = createAuthenticate(site)
  app.addHook('preValidation', async (request) => {
    const access = request.routeOptions.config.access ?? 'person'
    if (access === 'public') return
    const { method, url: path, rawBody: body, address, headers } = request
    const proof = single(headers, 'trustcast-proof')
    const endpointProof = single(headers, 'trustcast-endpoint')
    request.caller = await authenticate({
      method,
      path,
      body,
      address,
      cookie: readCookie(headers.cookie),
      proof,
      endpointProof,
      attestation: single(headers, 'trustcast-attestation'),
      exporter: exporterOf(site, request),
      unattended: single(headers, unattendedHeader.toLowerCase()) !== undefined,
    })
    requireAccess(access, request.caller)
  })
}

function answerErrors(app: Api, site: Site): void {
  app.setErrorHandler(async (error: FastifyError, request, reply) => {
    const { status, body } = errorAnswer(error)
    if (status >= 500 && body.code !== 'SITE_BUSY') site.log.error({ err: error }, 'a request failed')
    if (body.retryAfter !== undefined) reply.header('retry-after', Math.ceil(body.retryAfter))
    await passOver(request.raw)
    return reply.code(status).send(body)
  })
  app.setNotFoundHandler(async (request, reply) => {
    await passOver(request.raw)
    const { body } = errorAnswer(
      new SiteError('NOT_FOUND', `there is no ${request.method} ${request.url.slice(0, 100)}`),
    )
    return reply.code(404).send(body)
  })
}

async function refusePath(
  error: FastifyError,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  await passOver(request)
  const { status, body } = errorAnswer(error)
  const headers = { ...Object.fromEntries(securityHeaders), 'content-type': 'application/json' }
  response.writeHead(status, headers).end(JSON.stringify(body))
}

/**
 * Reads on over the body of what is refused, to its end or as far as is bearable: whoever still sends does not read, and
 * an answer before that would be lost with the connection.
 */
async function passOver(body: IncomingMessage): Promise<void> {
  if (body.complete) return
  let bytes = 0
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, passOverMs)
  body.on('data', (part: Buffer) => {
    bytes += part.length
    if (bytes > maxPassedOverBytes) resolve()
  })
  body.once('end', resolve).once('close', resolve)
  body.resume()
  await promise
  clearTimeout(timer)
}

async function addRoutes(app: Api, site: Site): Promise<void> {
  await app.register(fastifySwagger, describeApi(site.version))
  await app.register(
    async (api: FastifyInstance) => {
      const typed = withZod(api)
      typed.get('/openapi.json', { config: { access: 'public' }, schema: { hide: true } }, async () =>
        withErrors(app.swagger()),
      )
      for (const routes of [
        joinRoutes,
        enrolmentRoutes,
        personRoutes,
        handoffRoutes,
        eventRoutes,
        adminRoutes,
        endpointRoutes,
        evidenceRoutes,
        releaseRoutes,
        auditRoutes,
        dataRoutes,
      ])
        routes(typed, site)
    },
    { prefix: '/api/v1' },
  )
  healthRoutes(app, site)
}

/** The proof covers the body's bytes, so they are kept beside what they say. */
function keepRawBody(app: Api): void {
  app.decorateRequest('address', '')
  app.decorateRequest('caller', undefined)
  app.addHook('onRequest', async (request) => {
    request.rawBody = new Uint8Array()
  })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    request.rawBody = body as Buffer
    try {
      done(null, body.length === 0 ? undefined : JSON.parse(String(body)))
    } catch (cause) {
      done(new SiteError('BAD_REQUEST', 'the body is not JSON', { cause }))
    }
  })
}

/** Nobody frames, sniffs or refers to the console; what a page may load is said with the page (`console-routes.ts`). */
const securityHeaders: readonly (readonly [string, string])[] = [
  ['x-content-type-options', 'nosniff'],
  ['x-frame-options', 'DENY'],
  ['referrer-policy', 'no-referrer'],
  ['cross-origin-opener-policy', 'same-origin'],
  ['cross-origin-resource-policy', 'same-origin'],
  ['cache-control', 'no-store'],
]

function seenAddress(site: Site, request: FastifyRequest): string {
  const forwardedFor = request.headers['x-forwarded-for']
  return formatAddress(
    clientAddress(
      {
        peer: request.socket.remoteAddress ?? '',
        forwardedFor: Array.isArray(forwardedFor) ? forwardedFor.join(',') : forwardedFor,
      },
      site.trustedProxies,
    ),
  )
}

/** A page of another origin cannot make a browser change anything here. Native clients send no Origin. */
function requireOwnOrigin(site: Site, request: FastifyRequest): void {
  const { origin, 'sec-fetch-site': fetchSite } = request.headers
  const foreign = (origin !== undefined && origin !== site.origin) || fetchSite === 'cross-site'
  if (foreign && request.method !== 'GET' && request.method !== 'HEAD') {
    throw new SiteError('ORIGIN_REFUSED', 'this request came from a page of another site', {
      remedy: `Open ${site.origin} and do it there.`,
    })
  }
}

/** Whoever brings no cookie is told so before their body is read. */
function requireCookie(request: FastifyRequest): void {
  const access = request.routeOptions.config.access ?? 'person'
  if (access !== 'public' && !request.is404 && readCookie(request.headers.cookie) === undefined)
    throw notSignedIn()
}

/** What strangers may hold open. Behind a proxy all come from one source: the proxy bounds them. */
function boundConnections(server: Server): void {
  server.maxConnections = maxConnections
  const sources = new Map<string, number>()
  server.on('connection', (socket: Socket) => {
    const source = socket.remoteAddress ?? ''
    const count = (sources.get(source) ?? 0) + 1
    sources.set(source, count)
    socket.once('close', () => {
      const left = (sources.get(source) ?? 1) - 1
      if (left > 0) sources.set(source, left)
      else sources.delete(source)
    })
    if (count > maxConnectionsPerSource) socket.destroy()
  })
}

function requireAccess(access: Access, caller: SignedIn): void {
  const granted = access === 'person' || isAdmin(caller) || (access === 'auditor' && isAuditor(caller))
  if (!granted) {
    throw new SiteError(
      'NOT_ALLOWED',
      `this is for ${access === 'admin' ? 'admins' : 'admins and auditors'}`,
      { remedy: 'Ask an admin of this site.' },
    )
  }
}

function single(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name]
  return Array.isArray(value) ? undefined : value
}
