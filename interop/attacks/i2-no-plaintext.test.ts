import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { connect as connectTcp } from 'node:net'
import { join } from 'node:path'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { openDirectoryStore } from '#adapters/blobs-directory/index.ts'
import { createAuthority, createIdentityKey, issueLeaf, verifyRequest } from '#adapters/pki-x509/index.ts'
import { readIdentity } from '#apps/agent-client/index.ts'
import { importDevice } from '#core/artifact/artifact.fixture.ts'
import { chunkKeysOf } from '#core/artifact/image-key.ts'
import { encodeManifest } from '#core/artifact/index.ts'
import { memoryDevice } from '#core/block/memory-device.fixture.ts'
import { makePki, startNginx } from '../blob-servers.rig.ts'
import { diskOf, enrolEndpoint } from '../enrolled-endpoint.rig.ts'
import { homeNames, openWorkspace, typeUntil, watchFor } from '../hosted-person.rig.ts'
import { diskWorkspace, publishForTest } from '../published-release.rig.ts'
import { useReplicatedDisk } from '../replicated-disk.rig.ts'
import { passwordOf, pidsMatching, type RunningSite, startSite, until } from '../running-site.rig.ts'
import { familyOf, listeningPorts } from '../site-processes.rig.ts'
import { Capture, type Stream } from './capture.rig.ts'
import { readable, type Secret, secret, typed } from './secrets.rig.ts'

let site: RunningSite
let ports: number[]
/** Where only hosts and gateways may speak. */
let agentPorts: number[]
beforeAll(async () => {
  site = await startSite()
  ports = Array.from({ length: 6 }, (_, index) => site.port + index)
  agentPorts = ports.filter((_, index) => index % 2 === 1)
})
afterAll(() => site?.[Symbol.asyncDispose]())

test('nothing of a whole session can be read on the way, and every connection is TLS 1.3', async () => {
  await using capture = await Capture.start(ports)
  const marker = randomBytes(12).toString('hex')
  const copiedIn = `in-${randomBytes(12).toString('hex')}`
  const copiedOut = `out-${randomBytes(12).toString('hex')}`
  const colour = randomBytes(3)

  const client = await site.signIn('nora')
  const { viewer, delivery } = await openWorkspace(site, client, 'terminal')
  const seesColour = watchFor(viewer, colour)
  await typeUntil(viewer, `touch ${marker}`, async () => (await homeNames(site, 'nora')).includes(marker))
  viewer.type(`printf '\\033]11;#${colour.toString('hex')}\\007'\n`)
  await until(seesColour, 'the screen has its colour')
  viewer.copy(copiedIn)
  viewer.type(`sleep 1; touch got-$(xclip -o -selection clipboard)\n`)
  await until(
    async () => (await homeNames(site, 'nora')).includes(`got-${copiedIn}`),
    'the clipboard came in',
  )
  viewer.type(`printf ${copiedOut} | xclip -selection clipboard\n`)
  await until(() => viewer.clipboard.includes(copiedOut), 'the clipboard came out')
  viewer.channel.close('left')

  const cookie = client.credentials.cookie.split('=').slice(1).join('=')
  const pixel = Buffer.from([...colour.toReversed(), 0])
  const { ours, dialled } = await expectSealed(capture, ports, [
    secret('what was typed', marker),
    typed('what was typed', marker.slice(0, 3)),
    secret('the clipboard', copiedIn),
    secret('the clipboard', copiedOut),
    secret('the screen', Buffer.concat(Array.from({ length: 4 }, () => pixel))),
    secret('the ticket', Buffer.from(delivery.ticket, 'base64url')),
    secret('the ticket as text', delivery.ticket),
    secret('the admission', delivery.routes[0]!.token),
    secret('the cookie', cookie),
    secret('the password', passwordOf('nora')),
    secret('the protocol of the screen', 'RFB 003.008'),
  ])
  // Requests of the person, their channel, and what the hosts dial anew.
  expect(dialled.length).toBeGreaterThan(3)
  expect(new Set(dialled.map(({ to }) => to)).size).toBeGreaterThan(1)
  const screen = dialled.reduce((sum, { from }) => sum + sizeFrom(ours, from), 0)
  expect(screen).toBeGreaterThan(480 * 320 * 4)
}, 120_000)

test('nothing of a disk that streams, nor its key, can be read on the way from its store and from the site', async () => {
  await using undo = new AsyncDisposableStack()
  const pki = undo.use(await makePki())
  const marker = randomBytes(12).toString('hex')
  const content = Buffer.alloc(32 * 65_536, marker)
  const [key, folder] = [randomBytes(32), join(site.state, 'image-stores')]
  const store = undo.use(await openDirectoryStore(join(folder, 'disk'), { create: true }))
  const { manifest } = await importDevice(memoryDevice(content, false), store, { key })
  const nginx = undo.use(await startNginx(folder, pki))
  const ada = await site.signIn('ada')
  await publishForTest(ada, manifest.name, {
    key,
    manifest: encodeManifest(manifest),
    store: `https://localhost:${nginx.port}/disk/`,
  })
  await ada.send('PUT', '/admin/workspaces/lab', diskWorkspace(manifest.name), z.unknown())

  const nora = await site.signIn('nora')
  const capture = undo.use(await Capture.start([...ports, nginx.port]))
  const { dir, agent, ...laptop } = undo.use(await enrolEndpoint(site, ada, 'laptop-1'))
  const launched = await laptop.launch(nora, 'lab')
  const delivery = diskOf(launched)
  const disk = await useReplicatedDisk({
    site: site.address,
    agent,
    dir,
    runDir: join(dir, 'run'),
    launched: { ...launched, delivery },
    storeOptions: { ca: pki.ca },
  })
  expect(await disk.read(0, content.length)).toBe(content.toString())
  await disk.finish()

  const { dialled } = await expectSealed(
    capture,
    [...ports, nginx.port],
    [
      secret('the disk', marker),
      secret('its key', key),
      ...Object.entries(chunkKeysOf(key)).map(([name, derived]) => secret(`its ${name} key`, derived)),
      secret('what its key is asked for with', delivery.lease.keyTicket),
    ],
  )
  // The stream itself, the launch, and what the endpoint asked the site for.
  const [people, agents] = ports
  expect(new Set(dialled.map(({ to }) => to))).toEqual(new Set([people, agents, nginx.port]))
}, 120_000)

test('every port refuses TLS 1.2', async () => {
  for (const port of ports) {
    await expect(handshake(port, { maxVersion: 'TLSv1.2' }), String(port)).rejects.toThrow(
      /protocol version/i,
    )
  }
})

test('no port resumes a session', async () => {
  const { chainPem, privateKeyPem } = await readIdentity(join(site.state, 'host-1'))
  for (const port of ports) {
    const proof = agentPorts.includes(port) ? { cert: chainPem, key: privateKeyPem } : {}
    const first = await handshake(port, proof)
    // OpenSSL gives out names of sessions even when it keeps none: what counts is that none can be resumed.
    const sessions: Buffer[] = []
    first.on('session', (session) => sessions.push(session))
    expect(await ask(first), String(port)).toMatch(/^HTTP\/1\.1 /)
    const last = first.getSession()
    for (const session of [...sessions, ...(last === undefined ? [] : [last])]) {
      const second = await handshake(port, { ...proof, session })
      expect(second.isSessionReused(), String(port)).toBe(false)
      expect(await ask(second), String(port)).toMatch(/^HTTP\/1\.1 /)
    }
  }
})

test('the ports of agents answer nobody without a certificate of this site', async () => {
  const stranger = await strangersCertificate()
  for (const port of agentPorts) {
    for (const proof of [{}, stranger]) {
      expect(await handshake(port, proof).then(ask, () => ''), String(port)).toBe('')
    }
  }
})

test('a gateway is no host, and a host no gateway', async () => {
  const gateway = await readIdentity(join(site.state, 'gateway-1'))
  const proof = { cert: gateway.chainPem, key: gateway.privateKeyPem }
  const upgrade =
    'GET /relay HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: trustcast-relay\r\n\r\n'
  for (const port of agentPorts.slice(1)) {
    expect(await handshake(port, proof).then((socket) => ask(socket, upgrade))).not.toMatch(/^HTTP\/1\.1 101/)
  }
})

test('nothing else of the site listens, not even on loopback', async () => {
  const client = await site.signIn('ada')
  const { viewer } = await openWorkspace(site, client, 'desktop')
  const pids = await familyOf([site.pid, ...(await pidsMatching(site.state))])
  const names = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')))
  for (const name of ['Xvnc', 'openbox', 'postgres']) expect(names.map((one) => one.trim())).toContain(name)
  expect(await listeningPorts(pids)).toEqual(ports)
  viewer.channel.close('left')
})

/** Ends a capture: no secret can be read in it, and every connection to these ports is TLS 1.3. */
async function expectSealed(
  capture: Capture,
  towards: readonly number[],
  secrets: readonly Secret[],
): Promise<{ readonly ours: readonly Stream[]; readonly dialled: readonly Stream[] }> {
  // What would be found if it were there.
  const control = randomBytes(12).toString('hex')
  const controlPort = await sayPlainly(site.port, `GET /${control} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
  await capture.has(control)
  const { raw, streams } = await capture.finish()
  expect(readable(raw, [secret('control', control)])).toEqual(['control, as it is'])
  const ours = streams.filter((stream) => stream.from !== controlPort && stream.to !== controlPort)
  // As packets, and as what the connections said, since a secret may lie across packets.
  expect(readable(raw, secrets)).toEqual([])
  for (const { bytes } of ours) expect(readable(bytes, secrets)).toEqual([])
  for (const stream of ours)
    expect(
      /(?:GET|POST|PUT|PATCH|DELETE) \S+ HTTP|HTTP\/1\.[01] \d/.exec(stream.bytes.toString('latin1')),
      `${stream.from} to ${stream.to}`,
    ).toBeNull()
  const dialled = ours.filter((stream) => towards.includes(stream.to))
  for (const { from, to, bytes } of dialled) {
    const answer = ours.find((one) => one.from === to && one.to === from)
    expect(clientHelloOf(bytes), `${from} to ${to}`).toBe(true)
    expect(negotiated(answer?.bytes ?? Buffer.alloc(0)), `${from} to ${to}`).toBe(0x0304)
  }
  return { ours, dialled }
}

/** RFC 8446, section 5.1 and 4.1.2: record of type 22, handshake of type 1. */
function clientHelloOf(bytes: Buffer): boolean {
  return bytes[0] === 22 && bytes[1] === 3 && bytes[5] === 1
}

/** The version in a ServerHello's extension supported_versions. Source: RFC 8446, sections 4.1.3 and 4.2.1. */
function negotiated(bytes: Buffer): number {
  if (bytes[0] !== 22 || bytes[5] !== 2) return 0
  const sessionId = 5 + 4 + 2 + 32
  let at = sessionId + 1 + bytes.readUInt8(sessionId) + 2 + 1
  const end = at + 2 + bytes.readUInt16BE(at)
  for (at += 2; at < end; at += 4 + bytes.readUInt16BE(at + 2))
    if (bytes.readUInt16BE(at) === 43) return bytes.readUInt16BE(at + 4)
  return bytes.readUInt16BE(9)
}

function sizeFrom(streams: readonly { from: number; to: number; bytes: Buffer }[], client: number): number {
  return streams.filter(({ to }) => to === client).reduce((sum, { bytes }) => sum + bytes.length, 0)
}

/** Says it without TLS. @returns the port it came from */
async function sayPlainly(port: number, text: string): Promise<number> {
  const socket = connectTcp(port, '127.0.0.1')
  socket.on('error', () => undefined)
  await new Promise((resolve) => socket.once('connect', resolve))
  const { localPort = 0 } = socket
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.end(text)
  socket.resume()
  await closed
  return localPort
}

async function handshake(port: number, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = connect({
    port,
    host: '127.0.0.1',
    servername: 'localhost',
    ca: site.address.ca ?? '',
    checkServerIdentity: () => undefined,
    ...options,
  })
  await new Promise<void>((resolve, reject) => {
    socket.once('secureConnect', resolve)
    socket.once('error', reject)
  })
  return socket.on('error', () => socket.destroy())
}

/** With TLS 1.3 a client learns only here that its certificate was not accepted. @returns what came, if anything */
async function ask(
  socket: TLSSocket,
  request = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
): Promise<string> {
  let text = ''
  socket.on('data', (data) => (text += String(data)))
  const closed = new Promise((resolve) => socket.once('close', resolve))
  if (!socket.destroyed) socket.write(request)
  await closed
  return text
}

/** Of a host with a known name, signed by another site. */
async function strangersCertificate(): Promise<ConnectionOptions> {
  const dir = join(site.state, 'stranger')
  const authority = await createAuthority({ dir, siteName: 'Other', now: Date.now() })
  const key = await createIdentityKey()
  const { id } = await readIdentity(join(site.state, 'host-1'))
  const leaf = await issueLeaf(authority, {
    publicKey: verifyRequest(key.requestPem),
    role: 'host',
    id,
    dnsNames: [],
    ipAddresses: [],
    usages: 'client',
    lifetimeMs: 3_600_000,
    now: Date.now(),
  })
  return { cert: leaf.chainPem, key: key.privateKeyPem }
}
