import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:tls'
import { expect, test } from 'vitest'
import { type Credentials, call } from '#apps/site-client/call.ts'
import { makePki } from './blob-servers.rig.ts'

test('a site that goes away between the handshake and the request is away: nobody waits for it', async () => {
  await using pki = await makePki()
  const [cert, key] = await Promise.all([pki.server.cert, pki.server.key].map((path) => readFile(path)))
  const server = createServer({ cert, key }, (socket) => socket.on('error', () => undefined).destroy())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const site = { url: `https://localhost:${port}`, ca: pki.ca }
  const keyPair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])
  const credentials: Credentials = { cookie: 'none', keyPair }
  const ask = () => call(site, { method: 'POST', path: '/api/v1/launches', body: {} }, credentials)
  for (let turn = 0; turn < 40; turn++) await expect(ask()).rejects.toMatchObject({ code: 'SITE_AWAY' })
  server.close()
}, 20_000)
