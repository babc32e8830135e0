import { z } from 'zod'
import { proveEntry } from '#adapters/store-postgres/index.ts'
import {
  dataAnswer,
  dataQuery,
  removeAnswer,
  removeRequest,
  timelineAnswer,
  timelineQuery,
  timelineTopics,
  withdrawAnswer,
  withdrawRequest,
} from '#core/api/data.ts'
import { uuid } from '#core/api/words.ts'
import { formatTlogProof } from '#core/audit/index.ts'
import { dataReader } from '../data/read-data.ts'
import { removeReplica } from '../data/replicas.ts'
import { readTimeline } from '../data/timeline.ts'
import { withdrawByAdmin } from '../data/withdrawing.ts'
import type { Site } from '../site.ts'
import { notFound, SiteError } from '../site-error.ts'
import { type Api, adminActor, callerOf } from './api.ts'

const auditor = { access: 'auditor' } as const
const text = 'text/plain; charset=utf-8'

/** Where data is, what became of it, the proof of that, and taking it back. */
export function dataRoutes(app: Api, site: Site): void {
  lookRoutes(app, site)

  app.post(
    '/leases/:id/withdraw',
    {
      config: { access: 'admin' },
      schema: {
        params: z.strictObject({ id: uuid }),
        body: withdrawRequest,
        response: { 200: withdrawAnswer },
      },
    },
    async (request) => {
      const { id } = request.params
      const state = await withdrawByAdmin(site, id, request.body.reason, adminActor(callerOf(request)))
      return { id, state }
    },
  )

  app.post(
    '/replicas/:id/remove',
    {
      config: { access: 'admin' },
      schema: { params: z.strictObject({ id: uuid }), body: removeRequest, response: { 200: removeAnswer } },
    },
    async (request) => {
      const { id } = request.params
      if (!(await removeReplica(site, id, request.body.reason, adminActor(callerOf(request)))))
        throw notFound('replica')
      return { id }
    },
  )
}

function lookRoutes(app: Api, site: Site): void {
  const readData = dataReader(site)
  app.get(
    '/data',
    { config: auditor, schema: { querystring: dataQuery, response: { 200: dataAnswer } } },
    ({ query }) => readData(query),
  )

  app.get(
    '/timeline',
    { config: auditor, schema: { querystring: timelineQuery, response: { 200: timelineAnswer } } },
    ({ query }) => {
      const topic = timelineTopics.find((one) => query[one] !== undefined)
      const about = topic && query[topic]
      if (topic === undefined || about === undefined) throw new SiteError('BAD_REQUEST', 'about what?')
      const before = query.before === undefined ? undefined : BigInt(query.before)
      return readTimeline(site, { topic, about, limit: query.limit, before })
    },
  )

  app.get(
    '/audit/proof/:index',
    {
      config: { ...auditor, answers: text },
      schema: { params: z.strictObject({ index: z.string().regex(/^(0|[1-9]\d{0,17})$/) }) },
    },
    async ({ params }, reply) => {
      const proof = await proveEntry(site.store.db, BigInt(params.index))
      if (proof === undefined) throw notFound('entry: the log does not reach as far')
      return reply
        .type(text)
        .header('content-disposition', `attachment; filename="audit-${params.index}.tlog-proof"`)
        .send(formatTlogProof(proof))
    },
  )
}
