import { hash, randomBytes } from 'node:crypto'
import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { clientTls, createIdentityKey, parseToken } from '#adapters/pki-x509/index.ts'
import { openTpm } from '#adapters/tpm/index.ts'
import { type SoftwareTpm, startSoftwareTpm, tpm2 } from '#adapters/tpm/swtpm.rig.ts'
import {
  type AgentIdentity,
  enrolAgent,
  quoteOver,
  readIdentity,
  requestApproval,
} from '#apps/agent-client/index.ts'
import { renewIdentity } from '#apps/agent-client/keep-renewed.ts'
import { postJson } from '#apps/agent-client/request-json.ts'
import { readEndpointCredentials } from '#apps/endpoint/endpoint-agent.ts'
import { attest } from '#apps/site/endpoints/attesting.ts'
import { call } from '#apps/site-client/call.ts'
import { enrolAnswer } from '#core/api/admin.ts'
import { tpmChallengeAnswer } from '#core/api/device-keys.ts'
import { endpointClaimsAnswer } from '#core/api/evidence.ts'
import { logOf, measured } from '#core/tpm/event-log.fixture.ts'
import { type Attestation, requestHash } from '#core/tpm/index.ts'
import { startTpmSite, type TpmSite } from '../device-keys.rig.ts'
import { dialAsEndpoint } from '../raw-endpoint.rig.ts'
import { openDatabase } from '../site-database.rig.ts'

/** I10: what the product says about security is what it can prove. Here: which machine an endpoint is, and what it booted. */

vi.setConfig({ testTimeout: 180_000 })
let at: TpmSite
/** Certified by the same authority as the site's, and not the enrolled one. */
let other: SoftwareTpm
let laptop: { readonly dir: string; readonly identity: AgentIdentity }

beforeAll(async () => {
  at = await startTpmSite()
  other = await startSoftwareTpm(join(at.tpm.dir, 'ca'))
  laptop = await at.enrol('laptop', { tcti: at.tpm.tcti })
}, 240_000)
afterAll(async () => {
  await other[Symbol.asyncDispose]()
  await at[Symbol.asyncDispose]()
})

test('a TPM that no trusted authority has certified enrols nothing, and the token is still good', async () => {
  await using stranger = await startSoftwareTpm()
  const token = await at.token('stranger')
  const wish = { url: at.site.url, token, dir: join(at.dir, 'stranger'), kind: 'endpoint' } as const
  const refused = { siteCode: 'TPM_EK_UNTRUSTED', remedy: expect.stringContaining('tpm.authorities') }
  await expect(enrolAgent({ ...wish, tpm: { tcti: stranger.tcti } })).rejects.toMatchObject(refused)
  // What was made in it was removed again.
  expect(await tpm2(stranger, 'getcap handles-persistent')).not.toMatch(/0x8101a0/i)
  const { tpm } = await enrolAgent(wish)
  expect(tpm).toBeUndefined()
  expect(await at.view((await readIdentity(wish.dir)).id)).toMatchObject({ deviceKey: 'file' })
})

test('a request is quoted by the TPM that was enrolled, for itself alone', async () => {
  expect(await asked(quoted)).toBe(200)
  // Without a quote it is signed by a file, which is less, and no lie.
  expect(await asked(undefined)).toBe(200)
  await expect(asked(() => quoted(randomBytes(32)))).rejects.toMatchObject({ code: 'ENDPOINT_REFUSED' })
  const earlier = await quoted(randomBytes(32))
  await expect(asked(async () => earlier)).rejects.toMatchObject({ code: 'ENDPOINT_REFUSED' })
  const key = await openTpm({ tcti: other.tcti }).createAttestationKey()
  const borrowed = { ...laptop.identity, tpm: { tcti: other.tcti, handle: key.handle } }
  await expect(asked((over) => quoteOver(borrowed, over, { withLog: false }))).rejects.toMatchObject({
    code: 'ENDPOINT_REFUSED',
  })
})

test('a key file does not pass for a TPM', async () => {
  const { dir, identity } = await at.enrol('file-only', 'none')
  const extraData = randomBytes(32)
  // It has found a real TPM, whose key nobody enrolled.
  const key = await openTpm({ tcti: other.tcti }).createAttestationKey()
  const borrowed = { ...identity, tpm: { tcti: other.tcti, handle: key.handle } }
  const quoted = await quoteOver(borrowed, extraData, { withLog: false })
  await expect(
    attest(at.node, await at.row(identity.id), quoted ?? missing(), extraData),
  ).rejects.toMatchObject({
    code: 'TPM_NOT_ENROLLED',
  })
  await expect(renewIdentity(dir, borrowed)).rejects.toMatchObject({ siteCode: 'TPM_NOT_ENROLLED' })
})

test('a copied identity without its TPM, or with another one, gets no further certificate', async () => {
  const { tpm: _, ...bare } = laptop.identity
  await expect(renewIdentity(laptop.dir, bare)).rejects.toMatchObject({ siteCode: 'TPM_ATTESTATION_MISSING' })
  const key = await openTpm({ tcti: other.tcti }).createAttestationKey()
  const moved = { ...laptop.identity, tpm: { tcti: other.tcti, handle: key.handle } }
  await expect(renewIdentity(laptop.dir, moved)).rejects.toMatchObject({ siteCode: 'TPM_QUOTE_FORGED' })
  await expect(
    renewIdentity(laptop.dir, { ...moved, tpm: { tcti: other.tcti, handle: '0x8101a00f' } }),
  ).rejects.toMatchObject({ code: 'TPM_KEY_GONE' })
})

test('a quote for another request, or another moment, is worth nothing', async () => {
  const row = await at.row(laptop.identity.id)
  const [first, second] = [randomBytes(32), randomBytes(32)]
  const quote = (await quoteOver(laptop.identity, first, { withLog: false })) ?? missing()
  await attest(at.node, row, quote, first)
  await expect(attest(at.node, row, quote, second)).rejects.toMatchObject({ code: 'TPM_QUOTE_WRONG_NONCE' })
  // A quote that the endpoint made for its evidence does not renew its certificate.
  const { requestPem } = await createIdentityKey()
  await expect(renewWith(laptop.identity, requestPem, quote)).rejects.toMatchObject({
    siteCode: 'TPM_QUOTE_WRONG_NONCE',
  })
})

test('PCR values and logs that are not those of the quote are refused', async () => {
  const row = await at.row(laptop.identity.id)
  const extraData = randomBytes(32)
  const quote = (await quoteOver(laptop.identity, extraData, { withLog: false })) ?? missing()
  const clean = Buffer.alloc(12 * 32, 1).toString('base64url')
  await expect(attest(at.node, row, { ...quote, pcrs: clean }, extraData)).rejects.toMatchObject({
    code: 'TPM_QUOTE_WRONG_PCRS',
  })
  const eventLog = logOf([measured(4, 4, Buffer.from('a boot loader that was not run'))]).toString(
    'base64url',
  )
  await expect(attest(at.node, row, { ...quote, eventLog }, extraData)).rejects.toMatchObject({
    code: 'TPM_LOG_MISMATCH',
  })
  const broken = randomBytes(200).toString('base64url')
  await expect(attest(at.node, row, { ...quote, eventLog: broken }, extraData)).rejects.toMatchObject({
    code: 'TPM_LOG_MALFORMED',
  })
})

test('evidence with a quote that proves nothing is refused with its code, and what the TPM had shown counts no more', async () => {
  using raw = await dialAsEndpoint(laptop.identity)
  const key = await openTpm({ tcti: other.tcti }).createAttestationKey()
  const borrowed = { ...laptop.identity, tpm: { tcti: other.tcti, handle: key.handle } }
  const eventLog = logOf([measured(4, 4, Buffer.from('another boot loader'))]).toString('base64url')
  const quotes: Readonly<Record<string, (over: Uint8Array) => Promise<Attestation | undefined>>> = {
    TPM_QUOTE_FORGED: (over) => quoteOver(borrowed, over, { withLog: false }),
    TPM_QUOTE_WRONG_NONCE: () => quoted(randomBytes(32)),
    TPM_LOG_MISMATCH: async (over) => ({ ...((await quoted(over)) ?? missing()), eventLog }),
    // Signed by the key file alone, which is less, and no lie.
    undefined: async () => undefined,
  }
  let [sequence, token] = [0, undefined as string | undefined]
  const tell = async (quote: (over: Uint8Array) => Promise<Attestation | undefined>) => {
    const { nonce, previous = token } = await raw.next('challenge')
    token = previous
    sequence += 1
    const statement = raw.statement(nonce, { sequence, ...(token === undefined ? {} : { previous: token }) })
    return raw.tell(statement, await quote(hash('sha256', statement, 'buffer')))
  }
  for (const [code, quote] of Object.entries(quotes)) {
    expect(await tell(quoted)).toBeUndefined()
    expect(await deviceKeyOf(laptop.identity.id)).toMatchObject({ value: 'tpm', source: 'attested' })
    expect(String(await tell(quote))).toBe(code)
    expect(await deviceKeyOf(laptop.identity.id), code).toMatchObject({ value: 'file', source: 'server' })
  }
})

test('an activation is good once, for its own token and request, and not without the secret', async () => {
  const ask = await challenge('activated')
  const { activation, wish } = ask
  const wrong = { ...activation, secret: randomBytes(32).toString('base64url') }
  await expect(enrolWith({ ...wish, activation: wrong })).rejects.toMatchObject({
    siteCode: 'TPM_ACTIVATION_FAILED',
  })
  // A wrong answer has used it up.
  await expect(enrolWith({ ...wish, activation })).rejects.toMatchObject({
    siteCode: 'TPM_ACTIVATION_UNKNOWN',
  })
  const again = await challenge('activated-2')
  const { requestPem } = await createIdentityKey()
  await expect(
    enrolWith({ ...again.wish, request: requestPem, activation: again.activation }),
  ).rejects.toMatchObject({ siteCode: 'TPM_ACTIVATION_UNKNOWN' })
  const third = await challenge('activated-3')
  await expect(
    enrolWith({ ...third.wish, token: await at.token('thief'), activation: third.activation }),
  ).rejects.toMatchObject({ siteCode: 'TPM_ACTIVATION_UNKNOWN' })
  expect(await enrolWith({ ...third.wish, activation: third.activation })).toMatchObject({
    siteId: at.node.siteId,
  })
  await expect(enrolWith({ ...third.wish, activation: third.activation })).rejects.toMatchObject({
    siteCode: 'TPM_ACTIVATION_UNKNOWN',
  })
})

test('a token has few challenges open at once', async () => {
  const token = await at.token('many')
  for (let count = 0; count < 5; count++) await challenge('many', token)
  await expect(challenge('many', token)).rejects.toMatchObject({ siteCode: 'TOO_FAST' })
})

test('a machine that was put back to an earlier state is found by its TPM', async () => {
  const { identity } = await at.enrol('snapshot', { tcti: other.tcti })
  const extraData = randomBytes(32)
  const quote = (await quoteOver(identity, extraData, { withLog: false })) ?? missing()
  await using database = await openDatabase(at.site)
  // As if the TPM had been reset since, and the quote came from the image that was put back.
  await database.rows(`update agents set boot = jsonb_set(boot, '{resetCount}', '999') where id = $1`, [
    identity.id,
  ])
  await expect(attest(at.node, await at.row(identity.id), quote, extraData)).rejects.toMatchObject({
    code: 'TPM_PUT_BACK',
  })
})

test('a copied folder opens on no other machine', async () => {
  const { dir } = await at.enrol('copied', 'none')
  const copy = join(at.dir, 'copy')
  await cp(dir, copy, { recursive: true })
  const path = process.env['TRUSTCAST_HOST_SECRET'] ?? ''
  const elsewhere = join(at.dir, 'host-secret')
  try {
    process.env['TRUSTCAST_HOST_SECRET'] = elsewhere
    await expect(readIdentity(copy)).rejects.toMatchObject({ code: 'AGENT_HOST_SECRET_MISSING' })
    await writeFile(elsewhere, randomBytes(32).toString('base64url'), { mode: 0o600 })
    await expect(readIdentity(copy)).rejects.toMatchObject({ code: 'SEALED_KEY_ELSEWHERE' })
    await writeFile(join(at.dir, 'open-secret'), await readFile(path), { mode: 0o644 })
    process.env['TRUSTCAST_HOST_SECRET'] = join(at.dir, 'open-secret')
    await expect(readIdentity(copy)).rejects.toMatchObject({ code: 'AGENT_HOST_SECRET_UNSAFE' })
  } finally {
    process.env['TRUSTCAST_HOST_SECRET'] = path
  }
  expect(await readIdentity(dir)).toMatchObject({ kind: 'endpoint' })
})

test('strangers that ask to be let in are bounded, in the log, and get nothing by asking', async () => {
  const { rootHash } = parseToken(await at.token('unused'))
  const ask = (name: string) => requestApproval({ url: at.site.url, rootHash, name, dir: join(at.dir, name) })
  const waiting = []
  for (let count = 0; count < 5; count++) waiting.push(await ask(`knocker-${count}`))
  await expect(ask('knocker-5')).rejects.toMatchObject({ siteCode: 'TOO_FAST' })
  expect(new Set(waiting.map(({ code }) => code)).size).toBe(5)
  await using database = await openDatabase(at.site)
  const entries = await database.rows(`select convert_from(entry, 'utf8') as text from audit_entries`)
  for (const { code } of waiting) expect(entries.some(({ text }) => String(text).includes(code))).toBe(true)
  const [row] = await database.rows('select count(*) from enrolment_tokens where name like $1', ['knocker-%'])
  expect(row).toEqual({ count: '0' })
  await expect(
    requestApproval({ url: at.site.url, rootHash: randomBytes(32), name: 'pin', dir: join(at.dir, 'pin') }),
  ).rejects.toMatchObject({ code: 'PKI_PIN_MISMATCH' })
})

/** The first round by hand, answered by the site's TPM. */
async function challenge(name: string, token?: string) {
  const tpm = openTpm({ tcti: at.tpm.tcti })
  const { requestPem } = await createIdentityKey()
  const wish = { token: token ?? (await at.token(name)), request: requestPem }
  const { publicArea, certificate } = await tpm.readEndorsement()
  const key = await tpm.createAttestationKey()
  try {
    const body = {
      ...wish,
      ekCertificate: certificate.toString('base64url'),
      ekPublic: publicArea.toString('base64url'),
      akPublic: key.publicArea.toString('base64url'),
    }
    const made = await send('/api/v1/enrol/challenges', body, tpmChallengeAnswer)
    const secret = await tpm.activate(key.handle, Buffer.from(made.credential, 'base64url'))
    const place = { ...laptop.identity, tpm: { tcti: at.tpm.tcti, handle: key.handle } }
    const attestation = (await quoteOver(place, requestHash(requestPem), { withLog: false })) ?? missing()
    return {
      wish,
      activation: { challenge: made.challenge, secret: secret.toString('base64url'), attestation },
    }
  } finally {
    await tpm.removeAttestationKey(key.handle)
  }
}

/** A request that laptop co-signs, quoted as told. */
async function asked(
  quote: ((proof: Uint8Array) => Promise<Attestation | undefined>) | undefined,
): Promise<number> {
  const { quoteOver: own, ...file } = await readEndpointCredentials(laptop.dir)
  const endpoint = { ...file, ...(quote === undefined ? {} : { quoteOver: quote }) }
  expect(own).toBeDefined()
  const request = { method: 'GET', path: '/api/v1/me' }
  return (await call(at.site.address, request, { ...at.admin.credentials, endpoint })).status
}

async function deviceKeyOf(id: string) {
  const { claims } = await at.admin.get(`/endpoints/${id}/claims`, endpointClaimsAnswer)
  return claims.find(({ name }) => name === 'endpoint.deviceKey')
}

async function enrolWith(body: object) {
  return send('/api/v1/enrol', body, enrolAnswer)
}

async function send<T>(path: string, body: object, answer: z.ZodType<T>): Promise<T> {
  const { rootPem, siteId } = laptop.identity
  return postJson(new URL(path, at.site.url), body, answer, clientTls(rootPem, { siteId, role: 'site' }))
}

/** Of the endpoint's own TPM. */
async function quoted(over: Uint8Array): Promise<Attestation | undefined> {
  return quoteOver(laptop.identity, over, { withLog: false })
}

async function renewWith(identity: AgentIdentity, request: string, attestation: object): Promise<unknown> {
  const { rootPem, siteId, agentUrl } = identity
  const tls = clientTls(rootPem, { siteId, role: 'site' }, identity)
  return postJson(new URL('/renew', agentUrl), { request, attestation }, z.unknown(), tls)
}

function missing(): never {
  throw new Error('it has no TPM')
}
