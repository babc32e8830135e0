import type { FastifyInstance, FastifyRequest } from 'fastify'
import { serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod'
import type { AuditActor } from '#core/audit/leaf.ts'
import type { SignedIn } from '../people/signed-in.ts'
import { SiteError } from '../site-error.ts'

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
    /** Media type of what is answered as it is, without a schema. */
    answers?: string
  }
}

export type Api = ReturnType<typeof withZod>

/** Checks requests and responses against the routes' zod schemas. */
export function withZod(app: FastifyInstance) {
  return app
    .setValidatorCompiler(validatorCompiler)
    .setSerializerCompiler(serializerCompiler)
    .withTypeProvider<ZodTypeProvider>()
}

/**
 * One page of a long list.
 *
 * @param list is asked for one row more, which says whether there is another page
 * @returns `next`: where that begins
 */
export async function pageOf<Query extends { readonly limit: number }, Row extends { readonly id: string }>(
  query: Query,
  list: (query: Query) => Promise<readonly Row[]>,
): Promise<{ readonly rows: readonly Row[]; readonly next: string | undefined }> {
  const found = await list({ ...query, limit: query.limit + 1 })
  const rows = found.slice(0, query.limit)
  return { rows, next: found.length > rows.length ? rows.at(-1)?.id : undefined }
}

export function adminActor({ person }: SignedIn): AuditActor {
  return { type: 'admin', id: person.id }
}

/** @throws {SiteError} NOT_SIGNED_IN, which a route that asked for a person never meets */
export function callerOf(request: FastifyRequest): SignedIn {
  if (request.caller === undefined)
    throw new SiteError('NOT_SIGNED_IN', 'you are not signed in', { remedy: 'Sign in.' })
  return request.caller
}
