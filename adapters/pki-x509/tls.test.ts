import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ConnectionOptions, connect, createServer, type Server, type TLSSocket } from 'node:tls'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import {
  type Authority,
  clientTls,
  createAuthority,
  createIdentityKey,
  issueLeaf,
  type LeafOrder,
  longestLeafMs,
  makeToken,
  type PkiError,
  parseToken,
  peerIdentity,
  serverTls,
  type TlsIdentity,
  verifyPinnedRoot,
  verifyRequest,
} from './index.ts'

const hour = 3_600_000
let folder: string
let authority: Authority
let gateway: TlsIdentity
let host: TlsIdentity
/** Node drops a client whose certificate it rejects without an alert. */
const silence = /closed without a word|ECONNRESET/
const servers: Server[] = []
/** What the server saw of each connection it accepted. */
const seen: { identity: unknown; isReused: boolean }[] = []

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tc-tls-'))
  authority = await createAuthority({ dir: join(folder, 'authority'), siteName: 'Test', now: Date.now() })
  gateway = await identity({ role: 'gateway', id: 'g1', usages: 'server' })
  host = await identity({ role: 'host', id: 'h1', usages: 'client' })
})

afterEach(async () => {
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve))
  seen.length = 0
})

afterAll(() => rm(folder, { recursive: true }))

test('two parts of a site meet and know each other', async () => {
  const port = await serve()
  expect(await greet(port, clientTls(authority.rootPem, toGateway(), host))).toBe('hello over TLSv1.3')
  expect(seen).toEqual([{ identity: { role: 'host', id: 'h1' }, isReused: false }])
})

test('a session is never resumed, though the client offers whatever it was given', async () => {
  const port = await serve()
  const options = clientTls(authority.rootPem, toGateway(), host)
  const sessions: Buffer[] = []
  await greet(port, options, (socket) => {
    socket.on('session', (session: Buffer) => sessions.push(session))
    const own = socket.getSession()
    if (own !== undefined) sessions.push(own)
  })
  for (const session of sessions) await greet(port, { ...options, session })
  await greet(port, { ...options, secureOptions: 0 }, (socket) => {
    socket.on('session', (session: Buffer) => sessions.push(session))
  })
  for (const session of sessions) await greet(port, { ...options, secureOptions: 0, session })
  expect(seen.length).toBeGreaterThanOrEqual(2)
  expect(seen.filter(({ isReused }) => isReused)).toEqual([])
})

test('where a server does resume, the same client would be resumed, and is not believed', async () => {
  const port = await serve({ ...serverTls(gateway, authority.rootPem), secureOptions: 0 })
  const options = { ...clientTls(authority.rootPem, toGateway(), host), secureOptions: 0 }
  let session: Buffer | undefined
  await greet(port, options, (socket) => {
    socket.on('session', (given: Buffer) => {
      session = given
    })
  })
  await greet(port, { ...options, session: session! })
  expect(seen[1]).toEqual({ identity: 'PKI_UNPROVEN_PEER', isReused: true })
})

test('a part of the site in a role that has no business here is told apart', async () => {
  const port = await serve()
  const endpoint = await identity({ role: 'endpoint', id: 'e1', usages: 'client' })
  await greet(port, clientTls(authority.rootPem, toGateway(), endpoint))
  expect(seen[0]?.identity).toBe('PKI_WRONG_PEER')
})

test('an expired client certificate is refused', async () => {
  const port = await serve()
  const late = await identity({ role: 'host', id: 'h1', usages: 'client', now: Date.now() - 2 * hour })
  await expect(greet(port, clientTls(authority.rootPem, toGateway(), late))).rejects.toThrow(silence)
  expect(seen).toEqual([])
})

test('a client without certificate is refused, and so is one with a certificate for servers', async () => {
  const port = await serve()
  await expect(greet(port, clientTls(authority.rootPem, toGateway()))).rejects.toThrow(/certificate required/)
  await expect(greet(port, clientTls(authority.rootPem, toGateway(), gateway))).rejects.toThrow(silence)
  expect(seen).toEqual([])
})

test('a client certificate of another site and a self-signed one are refused', async () => {
  const port = await serve()
  const other = await createAuthority({ dir: join(folder, 'other'), siteName: 'Test', now: Date.now() })
  const foreign = await identity({ role: 'host', id: 'h1', usages: 'client' }, other)
  await expect(greet(port, clientTls(authority.rootPem, toGateway(), foreign))).rejects.toThrow(silence)
  const [cert, key] = [join(folder, 'self.pem'), join(folder, 'self.key')]
  const uri = `subjectAltName=URI:spiffe://${authority.siteId}/host/h1`
  const args = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-subj',
    '/CN=h1',
  ]
  execFileSync('openssl', [...args, '-addext', uri, '-out', cert, '-keyout', key], { stdio: 'ignore' })
  const self = { chainPem: await readFile(cert, 'utf8'), privateKeyPem: await readFile(key, 'utf8') }
  await expect(greet(port, clientTls(authority.rootPem, toGateway(), self))).rejects.toThrow(silence)
  expect(seen).toEqual([])
})

test('a server of another role, name or site, or without a known authority, is not talked to', async () => {
  const port = await serve()
  const reach = (rootPem: string, peer: Parameters<typeof clientTls>[1]): Promise<string> =>
    greet(port, clientTls(rootPem, peer, host))
  const { siteId } = authority
  await expect(reach(authority.rootPem, { siteId, role: 'site' })).rejects.toMatchObject({
    code: 'PKI_WRONG_PEER',
  })
  await expect(reach(authority.rootPem, { siteId, role: 'gateway', id: 'g2' })).rejects.toMatchObject({
    code: 'PKI_WRONG_PEER',
  })
  await expect(reach(authority.rootPem, { siteId: 'x', role: 'gateway' })).rejects.toMatchObject({
    code: 'PKI_WRONG_SITE',
  })
  const other = await createAuthority({ dir: join(folder, 'third'), siteName: 'Test', now: Date.now() })
  await expect(reach(other.rootPem, toGateway())).rejects.toMatchObject({
    code: 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  })
})

test('TLS 1.2 is refused on both ends', async () => {
  const port = await serve()
  const old = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' } as const
  const options = clientTls(authority.rootPem, toGateway(), host)
  await expect(greet(port, { ...options, ...old })).rejects.toThrow(/protocol version/)
  const oldPort = await serve({ ...serverTls(gateway, authority.rootPem), ...old })
  await expect(greet(oldPort, options)).rejects.toThrow(/protocol version/)
})

test('a renewed certificate is served without a restart and keeps every rule', async () => {
  const port = await serve()
  const renewed = await identity({ role: 'gateway', id: 'renewed', usages: 'server' })
  servers[0]!.setSecureContext(serverTls(renewed, authority.rootPem))
  const options = clientTls(authority.rootPem, { ...toGateway(), id: 'renewed' }, host)
  const sessions: Buffer[] = []
  await greet(port, { ...options, secureOptions: 0 }, (socket) => {
    socket.on('session', (session: Buffer) => sessions.push(session))
  })
  for (const session of sessions) await greet(port, { ...options, secureOptions: 0, session })
  expect(seen.filter(({ isReused }) => isReused)).toEqual([])
  await expect(greet(port, clientTls(authority.rootPem, toGateway()))).rejects.toThrow(
    /PKI|expected|required/,
  )
  await expect(greet(port, { ...options, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' })).rejects.toThrow(
    /protocol version/,
  )
  await expect(greet(port, clientTls(authority.rootPem, { ...toGateway(), id: 'renewed' }))).rejects.toThrow(
    /certificate required/,
  )
})

test('a machine joins: it pins the root by its token, sends a request and gets a certificate that works', async () => {
  const token = parseToken(makeToken('host', crypto.getRandomValues(new Uint8Array(32)), authority.rootPem))
  const rootPem = verifyPinnedRoot(authority.rootPem, token.rootHash)
  const key = await createIdentityKey()
  const publicKey = verifyRequest(key.requestPem)
  const leaf = await issueLeaf(authority, {
    publicKey,
    role: 'host',
    id: 'joined',
    usages: 'client',
    lifetimeMs: hour,
    now: Date.now(),
  })
  await greet(
    await serve(),
    clientTls(rootPem, toGateway(), { chainPem: leaf.chainPem, privateKeyPem: key.privateKeyPem }),
  )
  expect(seen[0]?.identity).toEqual({ role: 'host', id: 'joined' })
})

test('openssl accepts the chain for its purposes only, and its requests are accepted here', async () => {
  const [root, intermediate, leaf] = ['root', 'intermediate', 'leaf'].map((name) =>
    join(folder, `${name}.pem`),
  ) as [string, string, string]
  await writeFile(root, authority.rootPem)
  await writeFile(intermediate, authority.intermediatePem)
  await writeFile(leaf, host.chainPem)
  const verify = (purpose: string): string =>
    execFileSync(
      'openssl',
      ['verify', '-x509_strict', '-purpose', purpose, '-CAfile', root, '-untrusted', intermediate, leaf],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] },
    ).trim()
  expect(verify('sslclient')).toBe(`${leaf}: OK`)
  expect(() => verify('sslserver')).toThrow(/purpose/)
  const request = (curve: string): string =>
    execFileSync(
      'openssl',
      [
        'req',
        '-new',
        '-newkey',
        'ec',
        '-pkeyopt',
        `ec_paramgen_curve:${curve}`,
        '-nodes',
        '-keyout',
        join(folder, 'r.key'),
        '-subj',
        '/CN=admin',
        '-sha256',
      ],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
    )
  expect(verifyRequest(request('P-256'))).toHaveLength(91)
  expect(() => verifyRequest(request('P-384'))).toThrow(expect.objectContaining({ code: 'PKI_BAD_REQUEST' }))
  await writeFile(join(folder, 'own.csr'), (await createIdentityKey()).requestPem)
  const args = ['req', '-in', join(folder, 'own.csr'), '-verify', '-noout']
  expect(execFileSync('openssl', args, { stdio: 'pipe' }).toString()).toBe('')
})

function toGateway(): { siteId: string; role: 'gateway'; id: string } {
  return { siteId: authority.siteId, role: 'gateway', id: 'g1' }
}

async function identity(
  order: Pick<LeafOrder, 'role' | 'id' | 'usages'> & { now?: number },
  issuer: Authority = authority,
): Promise<TlsIdentity> {
  const { publicKey, privateKeyPem } = await createIdentityKey()
  const lifetimeMs = order.now === undefined ? longestLeafMs : hour
  const { chainPem } = await issueLeaf(issuer, { now: Date.now(), ...order, publicKey, lifetimeMs })
  return { chainPem, privateKeyPem }
}

function identityOrCode(socket: TLSSocket): unknown {
  try {
    return peerIdentity(socket, authority.siteId, ['host', 'gateway'])
  } catch (error) {
    return (error as PkiError).code
  }
}

async function serve(options = serverTls(gateway, authority.rootPem)): Promise<number> {
  const server = createServer(options, (socket) => {
    socket.on('error', () => undefined)
    seen.push({ identity: identityOrCode(socket), isReused: socket.isSessionReused() })
    socket.end(`hello over ${socket.getProtocol()}`)
  })
  servers.push(server)
  server.on('tlsClientError', () => undefined)
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return (server.address() as AddressInfo).port
}

/** Connects, reads to the end, gives what came. */
async function greet(
  port: number,
  options: ConnectionOptions,
  watch: (socket: TLSSocket) => void = () => undefined,
): Promise<string> {
  const socket = connect({ ...options, host: '127.0.0.1', port })
  watch(socket)
  let text = ''
  for await (const chunk of socket) text += String(chunk)
  if (text === '') throw new Error('closed without a word')
  return text
}
