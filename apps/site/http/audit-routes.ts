import { z } from 'zod'
import { readCheckpoint, readTile } from '#adapters/store-postgres/index.ts'
import { parseTilePath } from '#core/audit/index.ts'
import type { Site } from '../site.ts'
import { notFound } from '../site-error.ts'
import type { Api } from './api.ts'

const auditor = { access: 'auditor' } as const
const text = 'text/plain; charset=utf-8'

/** The audit log as C2SP tlog-tiles serves it: a checkpoint, hash tiles and entry bundles, and the key that verifies it. */
export function auditRoutes(app: Api, site: Site): void {
  app.get(
    '/audit/key',
    { config: auditor, schema: { response: { 200: z.strictObject({ key: z.string() }) } } },
    async () => ({ key: site.auditKey }),
  )

  app.get('/audit/checkpoint', { config: { ...auditor, answers: text } }, async (_request, reply) => {
    const checkpoint = await readCheckpoint(site.store.db)
    if (checkpoint === undefined || checkpoint === '') throw notFound('checkpoint: the log is empty')
    return reply.type(text).send(checkpoint)
  })

  app.get(
    '/audit/tile/*',
    {
      config: { ...auditor, answers: 'application/octet-stream' },
      schema: { params: z.strictObject({ '*': z.string().max(64) }) },
    },
    async (request, reply) => {
      const tile = parseTilePath(`tile/${request.params['*']}`)
      const bytes = tile === undefined ? undefined : await readTile(site.store.db, tile)
      if (bytes === undefined) throw notFound('tile')
      return reply.type('application/octet-stream').send(Buffer.from(bytes))
    },
  )
}
