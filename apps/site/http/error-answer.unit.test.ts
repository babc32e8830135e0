import Fastify from 'fastify'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { PkiError } from '#adapters/pki-x509/index.ts'
import { slug } from '#core/api/words.ts'
import { IdentityError } from '#core/identity/identity-error.ts'
import { SiteError } from '../site-error.ts'
import { withZod } from './api.ts'
import { errorAnswer } from './error-answer.ts'

test('what is wrong with a request is told with its code and remedy', () => {
  const tooShort = new IdentityError('IDENTITY_PASSWORD_TOO_SHORT', 'expected at least 12 characters', {
    remedy: 'Take four words.',
  })
  expect(errorAnswer(tooShort)).toEqual({
    status: 400,
    body: { code: tooShort.code, message: tooShort.message, remedy: 'Take four words.', field: 'password' },
  })
  expect(errorAnswer(new SiteError('CONFLICT', 'twice'))).toMatchObject({ status: 409 })
})

test.each([
  new PkiError('PKI_AUTHORITY_BROKEN', 'the authority in /var/lib/site/pki does not hold together'),
  new IdentityError('IDENTITY_BAD_HASH', 'expected $argon2id$…'),
  new Error('column "secret" does not exist'),
])('what is wrong on our side is told to nobody: %s', (error) => {
  const { status, body } = errorAnswer(error)
  expect(status).toBe(500)
  expect(JSON.stringify(body)).not.toContain(error.message)
})

test('a database that is away is a reason to try again, not a fault', () => {
  const away = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
  expect(errorAnswer(away)).toMatchObject({ status: 503, body: { code: 'SITE_BUSY', retryAfter: 3 } })
})

test('a value that is not right is named in words, with what is right', async () => {
  const app = withZod(Fastify())
  app.setErrorHandler(async (error: Error, _request, reply) => reply.send(errorAnswer(error)))
  app.post('/', { schema: { body: z.strictObject({ groups: z.array(slug) }) } }, async () => ({}))
  const answer = await app.inject({ method: 'POST', url: '/', payload: { groups: ['ward-7', 'Ward 8'] } })
  expect(answer.json()).toEqual({
    status: 400,
    body: {
      code: 'BAD_REQUEST',
      message: 'groups, entry 2 is not right: lower-case letters, digits and dashes, 40 at most',
      remedy: 'Correct it and send it again.',
      field: 'groups/1',
    },
  })
  const empty = await app.inject({ method: 'POST', url: '/', payload: [] })
  expect(empty.json<{ body: object }>().body).toMatchObject({
    message: expect.stringMatching(/^the body is not/),
  })
})
