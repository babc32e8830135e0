import type { FastifyError } from 'fastify'
import { hasZodFastifySchemaValidationErrors, isResponseSerializationError } from 'fastify-type-provider-zod'
import { isAway } from '#adapters/store-postgres/index.ts'
import type { ApiError } from '#core/api/words.ts'
import { type CodedError, isCoded } from '#core/errors/coded-error.ts'
import { SiteError, siteErrorStatus } from '../site-error.ts'

/** Codes of other modules that tell what is wrong with a request. Every other one is our own fault, and nobody else's to read. */
const aboutRequest =
  /^(?:IDENTITY_PASSWORD_|POLICY_|ZONE_|ADDRESS_|NETWORK_|FORWARDED_|PKI_BAD_(?:TOKEN|REQUEST)$|AUDIT_BAD_ENTRY$|TPM_|RELEASE_|ARTIFACT_BAD_MANIFEST$)/

/** Which value of a request they are about. */
const fields = [
  [/^IDENTITY_PASSWORD_/, 'password'],
  [/^(?:ZONE_AMBIGUOUS|ZONE_TOO_MANY|NETWORK_MALFORMED)$/, 'networks'],
  [/^ZONE_BEACON_MISPLACED$/, 'beacon/url'],
] as const

/** The one table from errors to answers. */
export function errorAnswer(error: FastifyError | Error): {
  readonly status: number
  readonly body: ApiError
} {
  if (error instanceof SiteError) {
    const { code, field, retryAfter, decision } = error
    return {
      status: siteErrorStatus[code],
      body: {
        ...told(error, field),
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
    const path = issue?.instancePath ?? ''
    const message = `${placeOf(path, error.validationContext)} is not right: ${issue?.message ?? 'not valid'}`
    const field = path === '' ? {} : { field: path.slice(1) }
    return {
      status: 400,
      body: { code: 'BAD_REQUEST', message, remedy: 'Correct it and send it again.', ...field },
    }
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
  if (isCoded(error) && aboutRequest.test(error.code)) return { status: 400, body: told(error) }
  const status = 'statusCode' in error && typeof error.statusCode === 'number' ? error.statusCode : 500
  if (status < 500)
    return { status, body: { code: status === 404 ? 'NOT_FOUND' : 'BAD_REQUEST', message: error.message } }
  return { status: 500, body: brokenAnswer }
}

function told(
  { code, message, remedy }: CodedError,
  field: string | undefined = fields.find(([codes]) => codes.test(code))?.[1],
): ApiError {
  return {
    code,
    message,
    ...(remedy === undefined ? {} : { remedy }),
    ...(field === undefined ? {} : { field }),
  }
}

/** `groups, entry 1` for `/groups/0`: whoever filled in a form reads it. */
function placeOf(path: string, context = 'request'): string {
  const names = path
    .split('/')
    .filter((name) => name !== '')
    .map((name) => (/^\d+$/.test(name) ? `entry ${Number(name) + 1}` : name))
  return names.length === 0 ? `the ${context}` : names.join(', ')
}

const brokenAnswer: ApiError = {
  code: 'SITE_BROKEN',
  message: 'something went wrong on our side',
  remedy: 'Try again; if it stays, tell an admin the time it happened.',
}
