import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { get } from 'node:https'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { signRoute } from '#core/agent/route.ts'
import { GatewayRig, issue, readHead, readUntil } from './gateway.rig.ts'

const mebibyte = 1024 * 1024
/** Node drops a client whose certificate it refuses without an alert. */
const silence = /closed without a word|ECONNRESET|alert|socket hang up/

test('a person is joined to the host of the route, which sees the request as it came', async () => {
  await using rig = await GatewayRig.start()
  const [id, session] = [randomUUID(), randomUUID()]
  const host = await rig.spare(id)
  expect(rig.gateway.hosts()).toEqual([id])
  const person = await rig.person(rig.route(id, session), [
    'X-Odd:  é ',
    'Cookie: secret=1',
    'x-trustcast-session: forged',
  ])
  expect(await readHead(host)).toBe(
    [
      'GET /channel HTTP/1.1',
      'Host: g',
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
      `X-Odd: ${Buffer.from('é').toString('latin1')}`,
      'Sec-WebSocket-Protocol: trustcast.1',
      `X-Trustcast-Session: ${session}`,
      '\r\n',
    ].join('\r\n'),
  )
  expect([rig.gateway.connections, rig.gateway.hosts()]).toEqual([1, []])
  host.write('HTTP/1.1 101 Switching Protocols\r\n\r\n')
  expect(await readHead(person)).toBe('HTTP/1.1 101 Switching Protocols\r\n\r\n')
})

test('megabytes pass both ways at once in pieces of any size, and none is lost when both close', async () => {
  await using rig = await GatewayRig.start()
  const { host, person } = await rig.pair()
  const [toPerson, toHost] = [randomBytes(8 * mebibyte), randomBytes(5 * mebibyte)]
  const [atPerson, atHost] = [readUntil(person), readUntil(host)]
  await Promise.all([sendInPieces(host, toPerson), sendInPieces(person, toHost)])
  expect((await atPerson).equals(toPerson)).toBe(true)
  expect((await atHost).equals(toHost)).toBe(true)
  await expect.poll(() => rig.gateway.connections).toBe(0)
})

test('what a person sends right behind the request arrives behind it', async () => {
  await using rig = await GatewayRig.start()
  const id = randomUUID()
  const host = await rig.spare(id)
  const early = randomBytes(100_000)
  const person = await rig.person(rig.route(id))
  person.end(early)
  await readHead(host)
  expect((await readUntil(host)).equals(early)).toBe(true)
})

test('one side may end while the other still speaks', async () => {
  await using rig = await GatewayRig.start()
  const { host, person } = await rig.pair()
  person.end('last words')
  expect(String(await readUntil(host))).toBe('last words')
  host.end(randomBytes(3 * mebibyte))
  expect((await readUntil(person)).length).toBe(3 * mebibyte)
})

test('a host that vanishes ends its person, and the other way round', async () => {
  await using rig = await GatewayRig.start({ lingerMs: 200 })
  for (const gone of ['host', 'person'] as const) {
    const pair = await rig.pair()
    const left = gone === 'host' ? pair.person : pair.host
    pair[gone].destroy()
    await readUntil(left)
  }
  // Neither end closes its own side: the gateway does not wait for ever.
  await expect.poll(() => rig.gateway.connections).toBe(0)
})

test('tokens that are forged, expired, foreign or missing admit nobody', async () => {
  await using rig = await GatewayRig.start({ waitMs: 50 })
  const id = randomUUID()
  const spare = await rig.spare(id)
  const foreign = generateKeyPairSync('ed25519').privateKey
  const claims = { host: id, session: randomUUID(), exp: Math.floor(Date.now() / 1000) + 30 }
  const good = rig.route(id)
  const outcomes = {
    [signRoute(claims, foreign)]: [403, 'ROUTE_FORGED'],
    [rig.route(id, randomUUID(), -1)]: [403, 'ROUTE_EXPIRED'],
    [`${good.slice(0, 20)}A${good.slice(21)}`]: [403, 'ROUTE_FORGED'],
    'no-token': [403, 'ROUTE_MALFORMED'],
    [`${good}, route.${good}`]: [400, 'GATEWAY_NO_SUCH_PROTOCOL'],
    [rig.route(randomUUID())]: [503, 'GATEWAY_HOST_AWAY'],
  }
  for (const [token, [status, code]] of Object.entries(outcomes)) {
    const answer = await answerTo(await rig.person(token))
    expect(answer, token).toMatchObject({ status, body: { code } })
  }
  expect([spare.destroyed, rig.gateway.hosts(), rig.gateway.counters]).toEqual([
    false,
    [id],
    { joined: 0, refused: 6 },
  ])
})

test('a page of another origin is refused, a client that is no browser is not', async () => {
  await using rig = await GatewayRig.start()
  const id = randomUUID()
  const host = await rig.spare(id)
  for (const origin of ['https://evil.example', 'null', 'https://desk.example.evil.example'])
    expect(await answerTo(await rig.person(rig.route(id), [`Origin: ${origin}`]))).toMatchObject({
      status: 403,
      body: { code: 'GATEWAY_FOREIGN_ORIGIN' },
    })
  await rig.person(rig.route(id), [])
  expect(await readHead(host)).toContain('GET /channel')
})

test('who a host is, its certificate says: people of another host never come to it', async () => {
  await using rig = await GatewayRig.start({ waitMs: 50 })
  const [wanted, other] = [randomUUID(), randomUUID()]
  await rig.spare(other)
  expect(await answerTo(await rig.person(rig.route(wanted)))).toMatchObject({ status: 503 })
  expect(rig.gateway.hosts()).toEqual([other])
})

test('people wait for a host that is about to dial, in the order they came', async () => {
  await using rig = await GatewayRig.start()
  const id = randomUUID()
  const sessions = [randomUUID(), randomUUID()]
  for (const session of sessions) {
    await rig.person(rig.route(id, session))
    await sleep(50)
  }
  for (const session of sessions) expect(await readHead(await rig.spare(id))).toContain(session)
})

test('only hosts are parked: no other role, no stranger, nobody without a certificate', async () => {
  await using rig = await GatewayRig.start()
  await using foreignRig = await GatewayRig.start()
  for (const role of ['gateway', 'site', 'endpoint'] as const) {
    const { answer } = await rig.askToPark(await issue(rig.authority, role, randomUUID()))
    expect(answer).toContain('HTTP/1.1 403 ')
  }
  await expect(rig.askToPark(await issue(foreignRig.authority, 'host', 'h1')).then(refused)).rejects.toThrow(
    silence,
  )
  await expect(rig.dial(rig.gateway.ports.agents, rig.hostTls()).then(dead)).rejects.toThrow(silence)
  expect(rig.gateway.hosts()).toEqual([])
})

test('both ports speak TLS 1.3 only and resume no session', async () => {
  await using rig = await GatewayRig.start()
  const identity = await issue(rig.authority, 'host', 'h1')
  const doors = [
    [rig.gateway.ports.people, rig.personTls()],
    [rig.gateway.ports.agents, rig.hostTls(identity)],
  ] as const
  for (const [port, tls] of doors) {
    const old = { ...tls, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' } as const
    await expect(rig.dial(port, old)).rejects.toThrow(/version/)
    const sessions: Buffer[] = []
    const first = await rig.dial(port, { ...tls, secureOptions: 0 })
    first.on('session', (session: Buffer) => sessions.push(session))
    first.write('GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n')
    await readHead(first)
    for (const session of sessions) {
      const second = await rig.dial(port, { ...tls, secureOptions: 0, session })
      expect([second.getProtocol(), second.isSessionReused()]).toEqual(['TLSv1.3', false])
    }
  }
})

test('a host has so many spares and no more, and is not parked when it speaks or leaves', async () => {
  await using rig = await GatewayRig.start({ sparesPerHost: 2 })
  const id = randomUUID()
  const [talker, leaver] = [await rig.spare(id), await rig.spare(id)]
  const { answer } = await rig.askToPark(await issue(rig.authority, 'host', id))
  expect(answer).toContain('HTTP/1.1 503 ')
  talker.write('too early')
  leaver.destroy()
  await expect.poll(() => rig.gateway.hosts()).toEqual([])
})

test('an old spare is closed, so that its host proves its certificate again', async () => {
  await using rig = await GatewayRig.start({ spareMs: 50 })
  const spare = await rig.spare(randomUUID())
  await readUntil(spare)
  await expect.poll(() => rig.gateway.hosts()).toEqual([])
})

test('the oldest spare is used first', async () => {
  await using rig = await GatewayRig.start()
  const id = randomUUID()
  const [first, second] = [await rig.spare(id), await rig.spare(id)]
  await rig.person(rig.route(id))
  await readHead(first)
  await rig.person(rig.route(id))
  await readHead(second)
})

test('a revoked host is cut at once and stays out', async () => {
  await using rig = await GatewayRig.start()
  const { hostId, host, person } = await rig.pair()
  const spare = await rig.spare(hostId)
  const bystander = await rig.pair()
  rig.revoked.add(hostId)
  rig.gateway.closeHost(hostId)
  for (const socket of [host, person, spare]) await readUntil(socket)
  expect((await rig.askToPark(await issue(rig.authority, 'host', hostId))).answer).toContain('HTTP/1.1 403 ')
  expect(await answerTo(await rig.person(rig.route(hostId)))).toMatchObject({ status: 403 })
  bystander.host.write('still here')
  expect(String(await readUntil(bystander.person, (bytes) => bytes.length >= 10))).toBe('still here')
})

test('a slow reader holds its sender back, not the memory of the gateway', async () => {
  await using rig = await GatewayRig.start()
  const { host, person } = await rig.pair()
  person.pause()
  const piece = Buffer.alloc(mebibyte)
  let sent = 0
  const before = process.memoryUsage()
  // Until nothing has moved for a while: kernel buffers on loopback hold some megabytes.
  for (let stuck = 0; stuck < 10 && sent < 400; ) {
    if (host.writableLength < mebibyte) {
      host.write(piece)
      sent++
      stuck = 0
    } else stuck++
    await sleep(20)
  }
  expect(sent).toBeLessThan(100)
  const after = process.memoryUsage()
  expect(
    (after.external + after.arrayBuffers - before.external - before.arrayBuffers) / mebibyte,
  ).toBeLessThan(32)
  host.end()
  expect((await readUntil(person)).length).toBe(sent * mebibyte)
})

test('many idle sessions cost little and all still work', async () => {
  await using rig = await GatewayRig.start({ sparesPerHost: 100 })
  const pairs = await Promise.all(Array.from({ length: 60 }, () => rig.pair()))
  expect(rig.gateway.connections).toBe(60)
  for (const [index, { host, person }] of pairs.entries()) {
    host.write(`hello ${index}`)
    expect(String(await readUntil(person, (bytes) => bytes.length >= 7))).toBe(`hello ${index}`)
  }
})

test('a closing gateway cuts both ends of every pair', async () => {
  await using rig = await GatewayRig.start()
  const { host, person } = await rig.pair()
  const spare = await rig.spare(randomUUID())
  await rig.gateway.close()
  for (const socket of [host, person, spare]) await readUntil(socket)
  await expect.poll(() => rig.gateway.connections).toBe(0)
})

test('a head that is too long is refused, and one that never comes does not hold the connection', async () => {
  await using rig = await GatewayRig.start({ handshakeMs: 400 })
  const long = await rig.person(rig.route(randomUUID()), [`X-Long: ${'x'.repeat(10_000)}`])
  expect(String(await readUntil(long))).toContain('HTTP/1.1 431 ')
  const mute = await rig.dial(rig.gateway.ports.people, rig.personTls())
  mute.write('GET /channel HT')
  expect(String(await readUntil(mute))).toContain('HTTP/1.1 408 ')
})

test('one source has so many connections and no more', async () => {
  await using rig = await GatewayRig.start({ connectionsPerSource: 3 })
  const { people } = rig.gateway.ports
  const sockets = await Promise.all([1, 2, 3].map(() => rig.dial(people, rig.personTls())))
  await expect(rig.dial(people, rig.personTls())).rejects.toThrow(/ECONNRESET|closed|disconnected/)
  sockets[0]?.destroy()
  await expect
    .poll(() =>
      rig.dial(people, rig.personTls()).then(
        () => 'in',
        () => 'out',
      ),
    )
    .toBe('in')
})

test('a browser finds a page that it can be told to trust, and a monitor its answers', async () => {
  await using rig = await GatewayRig.start()
  expect(await fetchPage(rig, '/')).toMatchObject({
    status: 200,
    body: expect.stringContaining('This is a Trustcast gateway'),
  })
  expect(await fetchPage(rig, '/healthz')).toEqual({ status: 200, body: 'ok\n' })
  expect(await fetchPage(rig, '/readyz')).toEqual({ status: 200, body: 'ready\n' })
  expect(await fetchPage(rig, '/channel')).toMatchObject({ status: 404 })
})

/** In pieces of any size, with pauses, and then the end. */
async function sendInPieces(socket: NodeJS.WritableStream, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const size = 1 + Math.floor(Math.random() ** 3 * 300_000)
    if (!socket.write(bytes.subarray(at, at + size))) await once(socket, 'drain')
    at += size
  }
  socket.end()
}

async function answerTo(person: Parameters<typeof readUntil>[0]): Promise<{ status: number; body: unknown }> {
  const answer = String(await readUntil(person))
  const [head = '', body = ''] = answer.split('\r\n\r\n')
  return { status: Number(head.split(' ')[1]), body: JSON.parse(body) }
}

async function refused({
  socket,
  answer,
}: {
  socket: Parameters<typeof readUntil>[0]
  answer: string
}): Promise<never> {
  socket.destroy()
  throw new Error(answer === '' ? 'closed without a word' : `answered ${answer}`)
}

/** With TLS 1.3 a client is done before the server has looked at its certificate. */
async function dead(socket: Parameters<typeof readUntil>[0]): Promise<never> {
  socket.write('GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n')
  const answer = await readUntil(socket)
  throw new Error(answer.length === 0 ? 'closed without a word' : `answered ${String(answer)}`)
}

async function fetchPage(
  rig: GatewayRig,
  path: string,
): Promise<{ status: number | undefined; body: string }> {
  const request = get({
    ...rig.personTls(),
    host: '127.0.0.1',
    port: rig.gateway.ports.people,
    path,
    agent: false,
  })
  const [response] = await once(request, 'response')
  return { status: response.statusCode, body: await text(response) }
}
