import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { channelBinding } from '#adapters/pki-x509/index.ts'
import { readIdentity } from '#apps/agent-client/index.ts'
import { askBeacon } from '#apps/beacon/ask-beacon.ts'
import { type Beacon, startBeacon } from '#apps/beacon/beacon.ts'
import { publicText } from '#apps/beacon/run-beacon.ts'
import { slowRelay } from '#apps/beacon/slow-relay.rig.ts'
import { readEndpointCredentials } from '#apps/endpoint/endpoint-agent.ts'
import { callJson } from '#apps/site-client/call.ts'
import type { zoneDefinition } from '#core/api/admin.ts'
import { me } from '#core/api/person.ts'
import { makeBeaconStatement } from '#core/beacon/index.ts'
import { endpointProofHeader, makeEndpointProof } from '#core/identity/endpoint-proof.ts'
import { makeProof, proofHeader } from '#core/identity/proof.ts'
import { type EnrolledEndpoint, enrolEndpoint } from '../enrolled-endpoint.rig.ts'
import { toldObserver } from '../observed-endpoint.rig.ts'
import { type RunningSite, type SignedInClient, startSite, until } from '../running-site.rig.ts'

/**
 * I5 on the network: an endpoint that is elsewhere passes for one that is inside, and one whose connections somebody opens passes for one
 * whose connections nobody does.
 */
vi.setConfig({ testTimeout: 180_000, hookTimeout: 240_000 })

const silent = { info: () => undefined, warn: () => undefined }
const beaconKeys = generateKeyPairSync('ed25519')
/** Of this attacker's choice: gives the word of a beacon that the endpoint sends with its evidence. */
type Ask = (nonce: string) => Promise<string | undefined>

let site: RunningSite
let ada: SignedInClient
let beacon: Beacon

beforeAll(async () => {
  site = await startSite({ args: ['--hosts', '1', '--gateways', '1'] })
  ada = await site.signIn('ada')
  beacon = await startBeacon({
    key: beaconKeys.privateKey,
    rootPem: site.address.ca ?? '',
    listen: { address: '127.0.0.1', port: 0 },
    log: silent,
  })
  await setZones([
    {
      name: 'office',
      kind: 'inside',
      networks: ['127.0.0.0/8', '::1/128'],
      beacon: {
        key: publicText(beaconKeys.privateKey),
        url: `tls://127.0.0.1:${beacon.port}`,
        maxRttMs: 200,
      },
    },
  ])
})

afterAll(async () => {
  await beacon?.[Symbol.asyncDispose]()
  await site?.[Symbol.asyncDispose]()
})

test('who is where the beacon is counts as inside', async () => {
  await using laptop = await endpointThat('near', (dir) => async (nonce) => ask(dir, nonce))
  await until(async () => (await zoneOf(laptop)).kind === 'inside', 'it is inside', 60_000)
  expect((await zoneOf(laptop)).reason).toMatch(/its beacon answered in [\d.]+ ms$/)
})

test('an address in the zone alone, without the word of its beacon, does not', async () => {
  await using laptop = await endpointThat('mute', () => async () => undefined)
  await reported(laptop)
  expect(await zoneOf(laptop)).toMatchObject({
    kind: 'outside',
    reason: expect.stringContaining('has not answered'),
  })
})

test('a beacon relayed from elsewhere shows as time', async () => {
  await using relay = await slowRelay(beacon.port, 150)
  await using laptop = await endpointThat('relayed', (dir) => async (nonce) => ask(dir, nonce, relay.port))
  await refusedAs(laptop, 'BEACON_RELAYED')
})

test("a beacon's word is good for one report", async () => {
  let kept: string | undefined
  const replay =
    (dir: string): Ask =>
    async (nonce) => {
      kept ??= await ask(dir, nonce)
      return kept
    }
  const observer = toldObserver()
  await using laptop = await endpointThat('replayed', replay, observer)
  await until(async () => (await zoneOf(laptop)).kind === 'inside', 'the first is taken', 60_000)
  observer.see('endpoint.firewall', 'off')
  await refusedAs(laptop, 'BEACON_REPLAYED')
})

test('what a beacon says of one endpoint is worth nothing for another', async () => {
  await using friend = await endpointThat('friend', (dir) => async (nonce) => ask(dir, nonce))
  await using laptop = await endpointThat('borrowed', () => async (nonce) => ask(friend.dir, nonce))
  await refusedAs(laptop, 'BEACON_OTHER_ENDPOINT')
})

test('an endpoint cannot speak as the beacon', async () => {
  const { privateKey } = generateKeyPairSync('ed25519')
  const forge =
    (dir: string): Ask =>
    async (nonce) => {
      const { id: endpoint } = await readIdentity(dir, 'endpoint')
      const thumbprint = randomBytes(32).toString('base64url')
      return makeBeaconStatement({ nonce, endpoint, thumbprint, rttMs: 0.1, at: Date.now() }, privateKey)
    }
  await using laptop = await endpointThat('forged', forge)
  await refusedAs(laptop, 'BEACON_FORGED')
})

test('an exporter that was signed for another connection tells of interception', async () => {
  await using laptop = await endpointThat('pasted', (dir) => async (nonce) => ask(dir, nonce))
  await reported(laptop)
  const [mine, other] = [await dial(), await dial()]
  const binding = channelBinding(mine)
  expect(await interceptionOver(mine, laptop, binding)).toBe('none')
  expect(await interceptionOver(other, laptop, binding)).toBe('detected')
  // What was found once holds while it is fresh, whoever asks next; and who says nothing has proven nothing.
  const third = await dial()
  expect(await interceptionOver(third, laptop, undefined)).toBe('detected')
})

test('who sits in between cannot sign the exporter of a connection of their own', async () => {
  await using laptop = await endpointThat('altered', (dir) => async (nonce) => ask(dir, nonce))
  const [mine, other] = [await dial(), await dial()]
  mine.destroy()
  const answer = await getMe(
    other,
    laptop,
    channelBinding(other),
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  )
  expect(answer).toContain('ENDPOINT_REFUSED')
})

/** An enrolled endpoint whose agent brings whatever word of a beacon the attacker likes. */
async function endpointThat(
  name: string,
  attack: (dir: string) => Ask,
  observer = toldObserver(),
): Promise<EnrolledEndpoint> {
  let word: Ask | undefined
  const endpoint = await enrolEndpoint(site, ada, name, {
    report: { observers: [observer], askBeacon: async (_, nonce) => word?.(nonce) },
  })
  word = attack(endpoint.dir)
  observer.see('endpoint.antivirus', 'off')
  return endpoint
}

async function ask(dir: string, nonce: string, port = beacon.port): Promise<string> {
  const identity = await readIdentity(dir, 'endpoint')
  const key = publicText(beaconKeys.privateKey)
  return askBeacon({ url: `tls://127.0.0.1:${port}`, key, nonce, identity }, AbortSignal.timeout(20_000))
}

async function meAt({ dir }: EnrolledEndpoint): Promise<z.infer<typeof me>> {
  const credentials = { ...ada.credentials, endpoint: await readEndpointCredentials(dir) }
  return callJson(site.address, { method: 'GET', path: '/api/v1/me' }, me, credentials)
}

async function zoneOf(endpoint: EnrolledEndpoint): Promise<z.infer<typeof me>['network']> {
  return (await meAt(endpoint)).network
}

async function reported(endpoint: EnrolledEndpoint): Promise<void> {
  const isCurrent = async (): Promise<boolean> =>
    (await meAt(endpoint)).claims.some(
      ({ name, value }) => name === 'endpoint.reporting' && value === 'current',
    )
  await until(isCurrent, 'it reports', 60_000)
}

async function refusedAs(endpoint: EnrolledEndpoint, code: string): Promise<void> {
  await until(async () => (await zoneOf(endpoint)).reason?.includes(code) === true, `it is ${code}`, 60_000)
  expect((await zoneOf(endpoint)).kind).toBe('outside')
}

async function setZones(zones: readonly z.infer<typeof zoneDefinition>[]): Promise<void> {
  await ada.send('PUT', '/admin/zones', { zones }, z.looseObject({}))
}

async function dial(): Promise<TLSSocket> {
  const socket = connect({
    port: site.port,
    host: '127.0.0.1',
    servername: 'localhost',
    ca: site.address.ca ?? '',
  })
  await once(socket, 'secureConnect')
  return socket
}

async function interceptionOver(
  socket: TLSSocket,
  endpoint: EnrolledEndpoint,
  exporter: string | undefined,
): Promise<string> {
  const text = await getMe(socket, endpoint, exporter)
  const { claims } = me.parse(JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1)))
  return claims.find(({ name }) => name === 'network.interception')?.value ?? 'absent'
}

/** One request, by hand, over a connection of one's choice. @returns head and body of the answer */
async function getMe(
  socket: TLSSocket,
  { dir }: EnrolledEndpoint,
  exporter: string | undefined,
  forger?: KeyObject,
): Promise<string> {
  const { id: endpointId, siteId, privateKeyPem } = await readIdentity(dir, 'endpoint')
  const { cookie, keyPair } = ada.credentials
  const nowMs = Date.now()
  const [method, path] = ['GET', '/api/v1/me']
  const proof = await makeProof({
    method,
    path,
    body: Buffer.alloc(0),
    keyPair,
    nowMs,
    random: randomBytes(16),
  })
  const key = forger ?? createPrivateKey(privateKeyPem)
  const word = makeEndpointProof({ endpointId, siteId, proof, key, nowMs, exporter })
  socket.write(
    [
      `${method} ${path} HTTP/1.1`,
      'Host: localhost',
      `Cookie: ${cookie}`,
      `${proofHeader}: ${proof}`,
      `${endpointProofHeader}: ${word}`,
      'Connection: close',
      '\r\n',
    ].join('\r\n'),
  )
  let text = ''
  for await (const data of socket) text += String(data)
  return text
}
