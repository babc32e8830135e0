import type { FastifyError } from 'fastify'
import { hasZodFastifySchemaValidationErrors, isResponseSerializationError } from 'fastify-type-provider-zod'
import { isAway } from '#adapters/store-postgres/index.ts'
import type { ApiError } from '#core/api/words.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { SiteError, siteErrorStatus } from '../site-error.ts'

/** Codes of other modules that tell what is wrong with a request. Every other one is our own fault, and nobody else's to read. */
const aboutRequest =
  /^(?:IDENTITY_PASSWORD_|POLICY_|ZONE_|ADDRESS_|NETWORK_|FORWARDED_|PKI_BAD_(?:TOKEN|REQUEST)$|AUDIT_BAD_ENTRY$|TPM_|RELEASE_|ARTIFACT_BAD_MANIFEST$)/

/** The one table from errors to answers. */
export function errorAnswer(error: FastifyError | Error): {
  readonly status: number
  readonly body: ApiError
} {
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
    const place = placeOf(issue?.instancePath ?? '', error.validationContext)
    const message = `${place} is not right: ${issue?.message ?? 'not valid'}`
    return { status: 400, body: { code: 'BAD_REQUEST', message, remedy: 'Correct it and send it again.' } }
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
  if (isCoded(error) && aboutRequest.test(error.code)) {
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
