import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Connect, Plugin } from 'vite'
import { proofHeader, verifyProof } from '#core/identity/proof.ts'
import { createMockHost } from './mock-host.ts'
import { type Answer, failed, MockSite, type Mood } from './mock-site.ts'

/**
 * A site for looking at the pages, with `vite dev` and `vite preview`. It stores what it is told, checks proofs, and
 * with TRUSTCAST_MOCK_DISPLAY=<Xvnc's unix socket> shows that display in sessions. Sign in as `ada` (admin), `omar`
 * (one workspace), or with the password `wrong`. `PUT /mock` sets a `Mood`.
 */
export function mockApi(): Plugin {
  return {
    name: 'mock-api',
    configureServer: ({ middlewares, httpServer }) => {
      middlewares.use(serve(new MockSite(createMockHost(httpServer))))
    },
    configurePreviewServer: ({ middlewares, httpServer }) => {
      const next = serve(new MockSite(createMockHost(httpServer)))
      middlewares.use((request, response, pass) => {
        response.setHeader('content-security-policy', contentPolicy)
        next(request, response, pass)
      })
    },
  }
}

/** What a site sends with the page, so that a violation shows here. */
const contentPolicy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self' ws:; base-uri 'none'"

function serve(site: MockSite): Connect.NextHandleFunction {
  return (request, response, pass) => {
    const url = request.url ?? '/'
    if (url === '/mock') void setMood(site, request, response)
    else if (url.startsWith('/api/v1/')) void reply(site, request, response)
    else pass()
  }
}

async function setMood(site: MockSite, request: IncomingMessage, response: ServerResponse): Promise<void> {
  site.setMood(JSON.parse((await readBody(request)).toString()) as Mood)
  response.end()
}

async function reply(site: MockSite, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = request.url ?? ''
  const body = await readBody(request)
  const path = url.slice('/api/v1'.length).replace(/\?.*$/, '')
  const parsed = body.length === 0 ? {} : (JSON.parse(body.toString()) as Record<string, never>)
  const answer =
    (await unproven(request, url, body)) ??
    (await site.answer(request.method ?? 'GET', path, parsed, new URLSearchParams(url.split('?')[1])))
  if (path === '/events' && answer.status < 400) {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': hello\n\n')
    response.on(
      'close',
      site.subscribe((line) => response.write(line)),
    )
    return
  }
  response.writeHead(answer.status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(answer.body ?? {}))
}

async function unproven(request: IncomingMessage, path: string, body: Buffer): Promise<Answer | undefined> {
  if (/\/(site|setup|web-sessions)$/.test(path)) return undefined
  try {
    const expected = { method: request.method ?? 'GET', path, body, nowMs: Date.now(), maxAgeMs: 60_000 }
    await verifyProof(String(request.headers[proofHeader.toLowerCase()]), expected)
    return undefined
  } catch (error) {
    return failed(401, 'PROOF_REFUSED', String(error))
  }
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}
