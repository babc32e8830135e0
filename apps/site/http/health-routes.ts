import { sql } from 'kysely'
import { contains, parseAddress, parseNetwork } from '#core/trust/index.ts'
import type { Site } from '../site.ts'
import { SiteError } from '../site-error.ts'
import type { Api } from './api.ts'

const open = { access: 'public' } as const

/** For machines that watch machines. */
export function healthRoutes(app: Api, site: Site): void {
  const allowed = site.config.metrics.map(parseNetwork)

  app.get('/healthz', { config: open, schema: { hide: true } }, async () => ({ status: 'alive' }))

  app.get('/readyz', { config: open, schema: { hide: true } }, async (_request, reply) => {
    try {
      await sql`select 1`.execute(site.store.db)
      return { status: 'ready' }
    } catch {
      return reply.code(503).send({ status: 'the database is away' })
    }
  })

  app.get('/metrics', { config: open, schema: { hide: true } }, async (request, reply) => {
    if (!allowed.some((network) => contains(network, parseAddress(request.address)))) {
      throw new SiteError('NOT_ALLOWED', 'metrics are not for this address', {
        remedy: 'Add it to `metrics` in the configuration.',
      })
    }
    const { rows } = await sql<{ live: string; connected: string }>`
      select count(*) as live, count(*) filter (where connected) as connected from sessions where state <> 'ended'`.execute(
      site.store.db,
    )
    const [row] = rows
    const gauges = {
      sessions_live: Number(row?.live ?? 0),
      sessions_connected: Number(row?.connected ?? 0),
      process_resident_memory_bytes: process.memoryUsage.rss(),
      process_heap_bytes: process.memoryUsage().heapUsed,
      process_cpu_seconds: process.cpuUsage().user / 1e6 + process.cpuUsage().system / 1e6,
    }
    return reply.type('text/plain; version=0.0.4').send(site.metrics.render(gauges))
  })
}
