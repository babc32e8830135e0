import type { FastifyDynamicSwaggerOptions } from '@fastify/swagger'
import { jsonSchemaTransform } from 'fastify-type-provider-zod'
import { z } from 'zod'
import { apiError } from '#core/api/words.ts'
import { attestationHeader, endpointProofHeader } from '#core/identity/endpoint-proof.ts'
import { proofHeader } from '#core/identity/proof.ts'
import { cookieName } from '../people/signed-in.ts'
import type { Access } from './api.ts'

/** How a request says who sends it: all of the schemes of one of the alternatives together. */
type Security = readonly Readonly<Partial<Record<keyof typeof securitySchemes, readonly string[]>>>[]

/** Of a route that asks for the endpoint, whoever is signed in there, if anybody. */
export const byEndpoint: Security = [{ proof: [], endpoint: [] }]
export const byPersonAtEndpoint: Security = [{ session: [], proof: [], endpoint: [] }]
const byPerson: Security = [{ session: [], proof: [] }, ...byPersonAtEndpoint]

const securitySchemes = {
  session: {
    type: 'apiKey',
    in: 'cookie',
    name: cookieName,
    description: 'The web session, as POST /api/v1/web-sessions sets it. It opens nothing without a proof.',
  },
  proof: {
    type: 'apiKey',
    in: 'header',
    name: proofHeader,
    description: [
      'Good for one request: a compact JWS (RFC 7515) with ES256 by the key that the web session began with.',
      'Header {"typ": "trustcast-proof+jwt", "alg": "ES256", "jwk": {kty, crv, x, y}}, payload {htm: method,',
      'htu: path and query, iat: Unix time in s, jti: 16 random bytes, bh: SHA-256 of the body}; bytes in base64url.',
    ].join(' '),
  },
  endpoint: {
    type: 'apiKey',
    in: 'header',
    name: endpointProofHeader,
    description: [
      'Beside a proof, on an enrolled endpoint: a compact JWS with ES256 by the key of the endpoint. Header',
      '{"typ": "trustcast-endpoint+jwt", "alg": "ES256", "kid": id of the endpoint}, payload {aud: id of the site,',
      'ph: SHA-256 of the proof as it stands in its header, iat: Unix time in s, exporter: of the TLS connection (RFC 9266)}.',
      `An endpoint with a TPM adds ${attestationHeader}: a quote over it.`,
    ].join(' '),
  },
} as const

/** What `/api/v1/openapi.json` says beside the schemas of the routes: who may ask, how errors are answered, what is no JSON. */
export function describeApi(version: string): FastifyDynamicSwaggerOptions {
  return {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Trustcast',
        version,
        description: `Requests are signed: see the security scheme \`proof\`. Every failing answer is an \`Error\`.`,
      },
      components: { securitySchemes },
    },
    transform: (given) => {
      const { access = 'person', answers } = given.route.config ?? {}
      const { schema, url } = jsonSchemaTransform(given)
      const security = given.schema?.security ?? securityOf(access)
      return {
        url,
        schema: {
          ...schema,
          security,
          ...(answers === undefined ? {} : { response: { 200: plain(answers) } }),
        },
      }
    },
  }
}

function securityOf(access: Access): Security {
  return access === 'public' ? [] : byPerson
}

function plain(mediaType: string): object {
  const schema = mediaType.startsWith('application/json')
    ? { type: 'object' }
    : { type: 'string', ...(mediaType.startsWith('text/') ? {} : { format: 'binary' }) }
  return { description: 'As it is, not wrapped in JSON', content: { [mediaType]: { schema } } }
}

interface Document {
  readonly components?: object | undefined
  readonly paths?: Readonly<Record<string, object | undefined>> | undefined
}

/** Any operation may be refused, and all are in the same way. */
export function withErrors(document: Document): Document {
  const { $schema: _, ...error } = z.toJSONSchema(apiError)
  const answer = {
    description: 'Refused or broken: the code says why, the remedy what to do',
    content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
  }
  const paths = Object.entries(document.paths ?? {}).map(([path, operations = {}]) => [
    path,
    Object.fromEntries(Object.entries(operations as Operations).map(refusable)),
  ])
  return {
    ...document,
    components: { ...document.components, schemas: { Error: error }, responses: { Error: answer } },
    paths: Object.fromEntries(paths) as Document['paths'],
  }
}

type Operations = Readonly<Record<string, { readonly responses?: object }>>

function refusable([method, operation]: [string, Operations[string]]): [string, object] {
  const responses = { ...operation.responses, default: { $ref: '#/components/responses/Error' } }
  return [method, { ...operation, responses }]
}
