import { expect, test } from 'vitest'
import { call } from '#apps/site-client/call.ts'
import { startSite } from './running-site.rig.ts'

/** Whoever makes a client from the description of the API can sign in, read every answer, and every error. */

interface Operation {
  readonly security?: readonly Readonly<Record<string, unknown>>[]
  readonly responses: Readonly<
    Record<
      string,
      { readonly $ref?: string; readonly content?: Readonly<Record<string, { schema: object }>> }
    >
  >
}

interface Description {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: {
    readonly securitySchemes: Readonly<Record<string, { type: string; in: string; name: string }>>
    readonly responses: { readonly Error: Operation['responses'][string] }
    readonly schemas: {
      readonly Error: { readonly required: readonly string[]; readonly properties: object }
    }
  }
}

test('every operation says who may ask, what it answers and how it refuses', async () => {
  await using site = await startSite({ args: ['--hosts', '1', '--gateways', '1'] })
  const { body } = await call(site.address, { method: 'GET', path: '/api/v1/openapi.json' })
  const { paths, components } = JSON.parse(String(body)) as Description
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ name: `${method} ${path}`, ...operation })),
  )
  expect(operations.length).toBeGreaterThan(70)
  for (const { name, security, responses } of operations) {
    expect(security, name).toBeDefined()
    for (const scheme of security?.flatMap((one) => Object.keys(one)) ?? [])
      expect(components.securitySchemes, name).toHaveProperty(scheme)
    expect(responses['default'], name).toEqual({ $ref: '#/components/responses/Error' })
    const answers = Object.entries(responses).filter(([status]) => status !== 'default')
    expect(answers.length, name).toBeGreaterThan(0)
    for (const [status, { content }] of answers)
      expect(Object.values(content ?? {})[0]?.schema, `${name} ${status}`).toBeDefined()
  }

  const securityOf = (name: string) =>
    operations.find((one) => one.name === name)?.security?.map((one) => Object.keys(one).toSorted())
  expect(securityOf('get /api/v1/site')).toEqual([])
  const atEndpoint = ['endpoint', 'proof', 'session']
  expect(securityOf('get /api/v1/endpoints')).toEqual([['proof', 'session'], atEndpoint])
  expect(securityOf('get /api/v1/endpoint/claims')).toEqual([atEndpoint])
  expect(components.securitySchemes).toMatchObject({
    session: { type: 'apiKey', in: 'cookie', name: '__Host-trustcast' },
    proof: { type: 'apiKey', in: 'header', name: 'Trustcast-Proof' },
    endpoint: { type: 'apiKey', in: 'header', name: 'Trustcast-Endpoint' },
  })
  expect(components.schemas.Error.required).toEqual(['code', 'message'])
  expect(Object.keys(components.schemas.Error.properties)).toEqual(
    expect.arrayContaining(['code', 'message', 'remedy', 'retryAfter']),
  )
  const typeOf = (name: string) =>
    Object.keys(operations.find((one) => one.name === name)?.responses['200']?.content ?? {})
  expect(typeOf('get /api/v1/events')).toEqual(['text/event-stream'])
  expect(typeOf('get /api/v1/authorities')).toEqual(['application/x-pem-file'])
}, 120_000)
