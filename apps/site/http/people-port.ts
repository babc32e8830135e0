import type { IncomingHttpHeaders } from 'node:http'
import type { SecureContextOptions } from 'node:tls'
import fastifySwagger from '@fastify/swagger'
import Fastify, { type FastifyError, type FastifyInstance, type FastifyRequest } from 'fastify'
import {
  hasZodFastifySchemaValidationErrors,
  isResponseSerializationError,
  jsonSchemaTransform,
  serializerCompiler,
  validatorCompiler,
  type ZodTypeProvider,
} from 'fastify-type-provider-zod'
import { isAway } from '#adapters/store-postgres/index.ts'
import type { ApiError } from '#core/api/words.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { clientAddress, formatAddress } from '#core/trust/index.ts'
import { createAuthenticate, isAdmin, isAuditor, readCookie, type SignedIn } from '../signed-in.ts'
import type { Site } from '../site.ts'
import { SiteError, siteErrorStatus } from '../site-error.ts'
import { adminRoutes } from './admin-routes.ts'
import { auditRoutes } from './audit-routes.ts'
import { consoleRoutes } from './console-routes.ts'
import { eventRoutes } from './event-routes.ts'
import { healthRoutes } from './health-routes.ts'
import { joinRoutes } from './join-routes.ts'
import { personRoutes } from './person-routes.ts'

/** Who may call a route. */
export type Access = 'public' | 'person' | 'admin' | 'auditor'

declare module 'fastify' {
  interface FastifyRequest {
    rawBody: Uint8Array
    /** The client's address as the site sees it. */
    address: string
    caller: SignedIn | undefined
  }
  interface FastifyContextConfig {
    access?: Access
  }
}

export type Api = ReturnType<typeof withZod>

const maxBodyBytes = 2 * 1024 * 1024

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
    trustProxy: false,
    forceCloseConnections: true,
  })
  const app = withZod(bare as unknown as FastifyInstance)
  keepRawBody(app)
  app.addHook('onRequest', async (request, reply) => {
    request.address = seenAddress(site, request)
    for (const [name, value] of securityHeaders) reply.header(name, value)
    requireOwnOrigin(site, request)
  })
  const authenticate = createAuthenticate(site)
  app.addHook('preValidation', async (request) => {
    const access = request.routeOptions.config.access ?? 'person'
    if (access === 'public') return
    const { method, url: path, rawBody: body, address, headers } = request
    request.caller = await authenticate({
      method,
      path,
      body,
      address,
      cookie: readCookie(headers.cookie),
      proof: single(headers, 'trustcast-proof'),
    })
    requireAccess(access, request.caller)
  })
  app.setErrorHandler((error: FastifyError, _request, reply) => {
    const { status, body } = errorAnswer(error)
    if (status >= 500 && body.code !== 'SITE_BUSY') site.log.error({ err: error }, 'a request failed')
    if (body.retryAfter !== undefined) reply.header('retry-after', Math.ceil(body.retryAfter))
    return reply.code(status).send(body)
  })
  await app.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Trustcast',
        version: site.version,
        description: 'Requests are signed: see core/identity/proof.ts.',
      },
    },
    transform: jsonSchemaTransform,
  })
  await app.register(
    async (api: FastifyInstance) => {
      const typed = withZod(api)
      typed.get('/openapi.json', { config: { access: 'public' }, schema: { hide: true } }, async () =>
        app.swagger(),
      )
      for (const routes of [joinRoutes, personRoutes, eventRoutes, adminRoutes, auditRoutes])
        routes(typed, site)
    },
    { prefix: '/api/v1' },
  )
  healthRoutes(app, site)
  await consoleRoutes(app, site, consoleDir)
  return app
}

/** @throws {SiteError} NOT_SIGNED_IN, which a route that asked for a person never meets */
export function callerOf(request: FastifyRequest): SignedIn {
  if (request.caller === undefined)
    throw new SiteError('NOT_SIGNED_IN', 'you are not signed in', { remedy: 'Sign in.' })
  return request.caller
}

function withZod(app: FastifyInstance) {
  return app
    .setValidatorCompiler(validatorCompiler)
    .setSerializerCompiler(serializerCompiler)
    .withTypeProvider<ZodTypeProvider>()
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
  ['strict-transport-security', 'max-age=31536000'],
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

/** The one table from errors to answers. */
function errorAnswer(error: FastifyError | Error): { readonly status: number; readonly body: ApiError } {
  if (error instanceof SiteError) {
    const { code, message, remedy, retryAfter, decision } = error
    return {
      status: siteErrorStatus[code],
      body: {
        code,
        message,
        ...(remedy === undefined ? {} : { remedy }),
        ...(retryAfter === undefined ? {} : { retryAfter }),
        ...(decision === undefined ? {} : { decision }),
      },
    }
  }
  if (isAway(error)) {
    const message = 'the site cannot reach its database right now; what runs goes on'
    return {
      status: 503,
      body: { code: 'SITE_BUSY', message, remedy: 'Try again in a moment.', retryAfter: 3 },
    }
  }
  if (hasZodFastifySchemaValidationErrors(error)) {
    const [issue] = error.validation
    const message = `${error.validationContext ?? 'request'}${issue?.instancePath ?? ''}: ${issue?.message ?? 'not valid'}`
    return { status: 400, body: { code: 'BAD_REQUEST', message } }
  }
  if (isResponseSerializationError(error)) return { status: 500, body: brokenAnswer }
  if (isCoded(error) && error.code === 'IDENTITY_BUSY') {
    return {
      status: 503,
      body: {
        code: error.code,
        message: error.message,
        remedy: 'Try again in a few seconds.',
        retryAfter: 3,
      },
    }
  }
  if (isCoded(error)) {
    return {
      status: 400,
      body: {
        code: error.code,
        message: error.message,
        ...(error.remedy === undefined ? {} : { remedy: error.remedy }),
      },
    }
  }
  const status = 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : 500
  if (status < 500)
    return { status, body: { code: status === 404 ? 'NOT_FOUND' : 'BAD_REQUEST', message: error.message } }
  return { status: 500, body: brokenAnswer }
}

const brokenAnswer: ApiError = {
  code: 'SITE_BROKEN',
  message: 'something went wrong on our side',
  remedy: 'Try again; if it stays, tell an admin the time it happened.',
}
