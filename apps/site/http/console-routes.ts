import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import fastifyStatic from '@fastify/static'
import { listAgents } from '#adapters/store-postgres/index.ts'
import { devicePort } from '#core/handoff/index.ts'
import type { Site } from '../site.ts'
import { notFound } from '../site-error.ts'
import type { Api } from './api.ts'

const open = { access: 'public' } as const

/**
 * The console's files. The page comes from the site and never from a gateway, which could otherwise swap the code that
 * holds the channel's keys (I3). It may load nothing from elsewhere and connect only here and to the site's gateways.
 */
export async function consoleRoutes(app: Api, site: Site, consoleDir: string): Promise<void> {
  await app.register(async (files) => {
    files.addHook('onRoute', (route) => {
      route.config = { ...route.config, ...open }
    })
    await files.register(fastifyStatic, {
      root: join(consoleDir, 'assets'),
      prefix: '/assets/',
      // Their names hold a hash of their content.
      immutable: true,
      maxAge: '365d',
      cacheControl: true,
      schemaHide: true,
    })
  })
  app.get('/*', { config: open, schema: { hide: true } }, async (request, reply) => {
    if (request.url.startsWith('/api/') || request.url.startsWith('/assets/')) throw notFound('address')
    const page = await readFile(join(consoleDir, 'index.html'))
    return reply
      .type('text/html; charset=utf-8')
      .header('content-security-policy', await contentPolicy(site))
      .send(page)
  })
}

const device = `127.0.0.1:${devicePort}`

async function contentPolicy(site: Site): Promise<string> {
  const gateways = await listAgents(site.store.db, 'gateway')
  const sockets = gateways.flatMap(({ revoked_at, report: { publicUrl } }) =>
    revoked_at !== null || publicUrl === undefined ? [] : [publicUrl.replace(/^http/, 'ws')],
  )
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "font-src 'self'",
    // noVNC draws JPEG rectangles and cursors from data: and blob: addresses.
    "img-src 'self' data: blob:",
    // The service of an endpoint, on whatever machine the page is shown: what it answers, and screens.
    ["connect-src 'self'", `http://${device} ws://${device}`, ...sockets].join(' '),
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
  ].join('; ')
}
