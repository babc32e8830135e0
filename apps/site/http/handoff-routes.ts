import type { FastifyRequest } from 'fastify'
import { handoffAnswer, handoffRequest, redeemAnswer, redeemRequest } from '#core/api/handoff.ts'
import { ProofError, verifyProof } from '#core/identity/proof.ts'
import { type ProvenEndpoint, proofMaxAgeMs, provenEndpoint } from '../endpoints/proven-endpoint.ts'
import { offerHandoff, redeemHandoff } from '../launches/handoffs.ts'
import { type Pace, requirePace } from '../people/signed-in.ts'
import type { Site } from '../site.ts'
import { SiteError } from '../site-error.ts'
import { type Api, callerOf } from './api.ts'
import { exporterOf } from './exporter-of.ts'
import { byEndpoint } from './openapi.ts'

/** Launches that go from a browser to the endpoint it runs on. */
export function handoffRoutes(app: Api, site: Site): void {
  const paces = new Map<string, Pace>()

  app.post(
    '/handoffs',
    { schema: { body: handoffRequest, response: { 201: handoffAnswer } } },
    async (request, reply) => reply.code(201).send(await offerHandoff(site, callerOf(request), request.body)),
  )

  // Nobody is signed in on the endpoint: it shows that it is one, and the code says whose launch it is.
  app.post(
    '/handoffs/redeem',
    {
      config: { access: 'public' },
      schema: { security: byEndpoint, body: redeemRequest, response: { 201: redeemAnswer } },
    },
    async (request, reply) => {
      const { endpoint, interception, deviceKey } = await endpointOf(site, request)
      // A code cannot be guessed; that nobody tries for ever is for the database's sake.
      requirePace(site.now(), endpoint.id, paces)
      const { code, by, nonce, clientKey, floors } = request.body
      const answer = await redeemHandoff(site, {
        endpoint,
        interception,
        deviceKey,
        address: request.address,
        code,
        by,
        nonce,
        floors,
        clientKey: Buffer.from(clientKey, 'base64url'),
      })
      return reply.code(201).send(answer)
    },
  )
}

/**
 * The endpoint whose key has signed this request: it co-signs a proof, as beside a person's, whose own key is nobody's and good for this
 * request only.
 *
 * @throws {SiteError} PROOF_REFUSED, ENDPOINT_REFUSED
 */
async function endpointOf(site: Site, request: FastifyRequest): Promise<ProvenEndpoint> {
  const { method, url: path, rawBody: body, headers } = request
  const proof = single(headers['trustcast-proof'])
  const endpointProof = single(headers['trustcast-endpoint'])
  if (proof === undefined || endpointProof === undefined)
    throw notProven('no endpoint has signed this request')
  try {
    await verifyProof(proof, { method, path, body, nowMs: site.now(), maxAgeMs: proofMaxAgeMs })
  } catch (error) {
    if (error instanceof ProofError) throw notProven(error.message, error)
    throw error
  }
  const endpoint = await provenEndpoint(site, {
    proof,
    endpointProof,
    attestation: single(headers['trustcast-attestation']),
    exporter: exporterOf(site, request),
  })
  if (endpoint === undefined) throw notProven('no endpoint has signed this request')
  return endpoint
}

function notProven(why: string, cause?: unknown): SiteError {
  return new SiteError('PROOF_REFUSED', why, {
    remedy: 'Check the clock of this device, and that it is enrolled.',
    cause,
  })
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? undefined : value
}
