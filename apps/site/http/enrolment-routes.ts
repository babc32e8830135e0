import { z } from 'zod'
import { renewAnswer } from '#core/api/admin.ts'
import {
  enrolmentApproval,
  enrolmentRequestCreate,
  enrolmentRequestMade,
  enrolmentRequestState,
  enrolmentRequestView,
  renewalNonceAnswer,
  renewalNonceRequest,
  renewalRequest,
  tpmChallengeAnswer,
  tpmChallengeRequest,
} from '#core/api/device-keys.ts'
import { bytes32, uuid } from '#core/api/words.ts'
import { comeBack, renewalNonce } from '../endpoints/coming-back.ts'
import {
  approveEnrolment,
  enrolmentState,
  listEnrolmentRequests,
  refuseEnrolment,
  requestEnrolment,
} from '../endpoints/enrolment-requests.ts'
import { challengeTpm } from '../endpoints/tpm-enrolment.ts'
import type { Site } from '../site.ts'
import { type Api, adminActor, callerOf } from './api.ts'

const open = { access: 'public' } as const
const admin = { access: 'admin' } as const
const byId = z.strictObject({ id: uuid })
const nothing = z.strictObject({})

/** How machines prove their TPM, how endpoints come back, and how machines come in without a token. */
export function enrolmentRoutes(app: Api, site: Site): void {
  renewalRoutes(app, site)

  app.post(
    '/enrol/challenges',
    { config: open, schema: { body: tpmChallengeRequest, response: { 201: tpmChallengeAnswer } } },
    async (request, reply) => reply.code(201).send(await challengeTpm(site, request.body)),
  )

  app.post(
    '/enrolment-requests',
    { config: open, schema: { body: enrolmentRequestCreate, response: { 201: enrolmentRequestMade } } },
    async (request, reply) =>
      reply.code(201).send(await requestEnrolment(site, { ...request.body, address: request.address })),
  )

  // The secret is in the body, not in a path that logs keep.
  app.post(
    '/enrolment-requests/state',
    {
      config: open,
      schema: { body: z.strictObject({ secret: bytes32 }), response: { 200: enrolmentRequestState } },
    },
    async ({ body }) => ({ state: await enrolmentState(site, body.secret) }),
  )

  const requests = z.strictObject({ requests: z.array(enrolmentRequestView) })
  app.get(
    '/admin/enrolment-requests',
    { config: admin, schema: { response: { 200: requests } } },
    async () => ({
      requests: (await listEnrolmentRequests(site)).map((row) => ({
        id: row.id,
        code: row.code,
        name: row.name,
        address: row.address,
        requestedAt: row.requested_at.toISOString(),
        expiresAt: row.expires_at.toISOString(),
      })),
    }),
  )

  app.post(
    '/admin/enrolment-requests/:id/approve',
    { config: admin, schema: { params: byId, body: enrolmentApproval, response: { 200: nothing } } },
    async (request) => {
      const { name, group = 'default', owner } = request.body
      await approveEnrolment(site, request.params.id, { name, group, owner }, adminActor(callerOf(request)))
      return {}
    },
  )

  app.post(
    '/admin/enrolment-requests/:id/refuse',
    { config: admin, schema: { params: byId, response: { 200: nothing } } },
    async (request) => {
      await refuseEnrolment(site, request.params.id, adminActor(callerOf(request)))
      return {}
    },
  )
}

function renewalRoutes(app: Api, site: Site): void {
  app.post(
    '/renewals/nonces',
    { config: open, schema: { body: renewalNonceRequest, response: { 201: renewalNonceAnswer } } },
    async ({ body }, reply) => reply.code(201).send({ nonce: await renewalNonce(site, body.endpointId) }),
  )

  app.post(
    '/renewals',
    { config: open, schema: { body: renewalRequest, response: { 201: renewAnswer } } },
    async ({ body }, reply) => {
      const signature = Buffer.from(body.signature, 'base64url')
      return reply.code(201).send(await comeBack(site, { ...body, signature }))
    },
  )
}
