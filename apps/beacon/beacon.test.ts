import { createPrivateKey, generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  type Authority,
  createAuthority,
  createIdentityKey,
  issueLeaf,
  type Role,
  type TlsIdentity,
} from '#adapters/pki-x509/index.ts'
import { keyThumbprint, verifyBeacon } from '#core/beacon/index.ts'
import { askBeacon } from './ask-beacon.ts'
import { type Beacon, startBeacon } from './beacon.ts'
import { publicText } from './run-beacon.ts'
import { slowRelay } from './slow-relay.rig.ts'

const silent = { info: () => undefined, warn: () => undefined }
const { privateKey: beaconPrivate } = generateKeyPairSync('ed25519')
const key = publicText(beaconPrivate)
const endpointId = randomUUID()
const signal = AbortSignal.timeout(60_000)
let folder: string
let authority: Authority
let endpoint: TlsIdentity
let beacon: Beacon

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tc-beacon-'))
  authority = await createAuthority({ dir: join(folder, 'authority'), siteName: 'Test', now: Date.now() })
  endpoint = await identityOf('endpoint', endpointId)
  beacon = await startBeacon({
    key: beaconPrivate,
    rootPem: authority.rootPem,
    listen: { address: '127.0.0.1', port: 0 },
    log: silent,
  })
})

afterAll(async () => {
  await beacon?.[Symbol.asyncDispose]()
  await rm(folder, { recursive: true })
})

test('a beacon times an endpoint that is near, and the site believes it for this nonce', async () => {
  const nonce = newNonce()
  const statement = await askBeacon(question({ nonce }), signal)
  expect(verifyBeacon(statement, expected(nonce))).toMatchObject({ nonce, endpoint: endpointId })
  expect(() => verifyBeacon(statement, expected(newNonce()))).toThrow(
    expect.objectContaining({ code: 'BEACON_REPLAYED' }),
  )
})

test('the same over a line that is a few milliseconds longer is not near', async () => {
  await using relay = await slowRelay(beacon.port, 15)
  const nonce = newNonce()
  const statement = await askBeacon(question({ nonce, url: `tls://127.0.0.1:${relay.port}` }), signal)
  expect(() => verifyBeacon(statement, { ...expected(nonce), maxRttMs: 25 })).toThrow(
    expect.objectContaining({ code: 'BEACON_RELAYED' }),
  )
})

test('a beacon talks to endpoints of its site only', async () => {
  const other = await createAuthority({ dir: join(folder, 'other'), siteName: 'Other', now: Date.now() })
  for (const identity of [await identityOf('host', 'h1'), await identityOf('endpoint', endpointId, other)])
    await expect(askBeacon(question({ identity }), signal)).rejects.toMatchObject({ code: 'BEACON_AWAY' })
})

test('an endpoint tells nobody anything who is not the beacon', async () => {
  const another = publicText(generateKeyPairSync('ed25519').privateKey)
  await expect(askBeacon(question({ key: another }), signal)).rejects.toMatchObject({
    code: 'BEACON_AWAY',
    message: expect.stringContaining('is not this beacon'),
  })
})

function question(change: Partial<Parameters<typeof askBeacon>[0]> = {}) {
  return { url: `tls://127.0.0.1:${beacon.port}`, key, nonce: newNonce(), identity: endpoint, ...change }
}

function expected(nonce: string) {
  const thumbprints = [keyThumbprint(createPrivateKey(endpoint.privateKeyPem))]
  return { nonce, endpointId, thumbprints, key, maxRttMs: 1000, nowMs: Date.now() }
}

function newNonce(): string {
  return randomBytes(32).toString('base64url')
}

async function identityOf(role: Role, id: string, by = authority): Promise<TlsIdentity> {
  const { privateKeyPem, publicKey } = await createIdentityKey()
  const order = { publicKey, role, id, usages: 'client', lifetimeMs: 3_600_000, now: Date.now() } as const
  return { privateKeyPem, chainPem: (await issueLeaf(by, order)).chainPem }
}
