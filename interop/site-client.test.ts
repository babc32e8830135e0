import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { createServer, type TLSSocket } from 'node:tls'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { type Credentials, call, callJson, type SiteAddress } from '#apps/site-client/call.ts'
import { makePki } from './blob-servers.rig.ts'

test('a site that goes away between the handshake and the request is away: nobody waits for it', async () => {
  await using site = await serve((socket) => socket.destroy())
  const keyPair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])
  const credentials: Credentials = { cookie: 'none', keyPair }
  const ask = () => call(site, { method: 'POST', path: '/api/v1/launches', body: {} }, credentials)
  for (let turn = 0; turn < 40; turn++) await expect(ask()).rejects.toMatchObject({ code: 'SITE_AWAY' })
}, 20_000)

test('a site whose answer is too long is not away: the error says what was asked', async () => {
  await using site = await serve((socket) => {
    socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\n\r\n'))
    const more = (): boolean => socket.write(Buffer.alloc(1 << 20))
    socket.on('drain', more).once('data', more)
  })
  await expect(call(site, { method: 'GET', path: '/api/v1/everything' })).rejects.toMatchObject({
    code: 'ANSWER_TOO_LONG',
    message: expect.stringContaining('GET /api/v1/everything'),
    remedy: expect.any(String),
  })
}, 20_000)

test('a site of another version is told from one that is broken', async () => {
  await using site = await serve((socket) => {
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"new":true}'))
  })
  const ask = callJson(site, { method: 'GET', path: '/api/v1/old' }, z.strictObject({}))
  await expect(ask).rejects.toMatchObject({
    code: 'ANSWER_UNKNOWN',
    message: expect.stringContaining('GET /api/v1/old'),
    remedy: expect.stringContaining('version'),
  })
}, 20_000)

test('a refusal of a newer site keeps its code and its remedy, whatever else stands beside them', async () => {
  const refusal = { code: 'CONFLICT', message: 'changed since', remedy: 'Look again.', newer: { to: 'come' } }
  const body = JSON.stringify(refusal)
  await using site = await serve((socket) => {
    socket.once('data', () =>
      socket.end(`HTTP/1.1 409 Conflict\r\ncontent-length: ${body.length}\r\n\r\n${body}`),
    )
  })
  await expect(callJson(site, { method: 'GET', path: '/api/v1/old' }, z.unknown())).rejects.toMatchObject({
    code: 'CONFLICT',
    message: 'changed since',
    remedy: 'Look again.',
  })
}, 20_000)

async function serve(answer: (socket: TLSSocket) => void): Promise<SiteAddress & AsyncDisposable> {
  const pki = await makePki()
  const [cert, key] = await Promise.all([pki.server.cert, pki.server.key].map((path) => readFile(path)))
  const server = createServer({ cert, key }, (socket) => answer(socket.on('error', () => undefined)))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    url: `https://localhost:${port}`,
    ca: pki.ca,
    [Symbol.asyncDispose]: async () => {
      server.close()
      await pki[Symbol.asyncDispose]()
    },
  }
}
