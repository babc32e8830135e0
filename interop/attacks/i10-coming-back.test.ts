import {
  createHash,
  createPrivateKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from 'node:crypto'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { clientTls } from '#adapters/pki-x509/index.ts'
import { comeBack } from '#apps/agent-client/come-back.ts'
import { type AgentIdentity, quoteOver, type TpmChoice } from '#apps/agent-client/index.ts'
import { renewIdentity } from '#apps/agent-client/keep-renewed.ts'
import { postJson } from '#apps/agent-client/request-json.ts'
import { startEndpointAgent } from '#apps/endpoint/endpoint-agent.ts'
import { comeBack as takeBack } from '#apps/site/endpoints/coming-back.ts'
import { forgiveFork, markForked } from '#apps/site/evidence/evidence.ts'
import { renewAnswer } from '#core/api/admin.ts'
import { renewalNonceAnswer } from '#core/api/device-keys.ts'
import { renewalStatement } from '#core/identity/renewal-statement.ts'
import type { Attestation } from '#core/tpm/index.ts'
import { startTpmSite, type TpmSite, wasOff } from '../device-keys.rig.ts'
import { openDatabase } from '../site-database.rig.ts'

/** I10: an endpoint whose certificate has ended comes back by the key of that certificate, and its TPM, and by nothing else. */

vi.setConfig({ testTimeout: 120_000 })
let at: TpmSite

beforeAll(async () => {
  at = await startTpmSite()
}, 240_000)
afterAll(() => at[Symbol.asyncDispose]())

test('whoever was revoked does not come back', async () => {
  const { dir, identity } = await absent('revoked')
  await at.admin.send('POST', `/admin/agents/${identity.id}/revoke`, {}, z.unknown())
  await expect(comeBack(dir, identity, at.site.url)).rejects.toMatchObject(refusedFor('was revoked'))
})

test('who counts as copied does not come back, until an admin lets it begin anew', async () => {
  const { dir, identity } = await absent('forked')
  await markForked(at.node, identity.id)
  await expect(comeBack(dir, identity, at.site.url)).rejects.toMatchObject(refusedFor('seen on two machines'))
  await forgiveFork(at.node, identity.id, { type: 'system', id: 'test' })
  expect((await comeBack(dir, identity, at.site.url)).id).toBe(identity.id)
})

test('who was off for longer than the site allows does not come back', async () => {
  const { absenceDays } = at.node.config.endpoints
  const late = await absent('late', absenceDays + 1)
  await expect(comeBack(late.dir, late.identity, at.site.url)).rejects.toMatchObject(
    refusedFor(`more than ${absenceDays} days ago`),
  )
  // Its person is told what no waiting mends.
  const log = { info: () => undefined, warn: () => undefined }
  await using agent = await startEndpointAgent({ dir: late.dir, version: 'test', log })
  await expect.poll(() => agent.trouble).toMatchObject({ remedy: 'Enrol it again: what it keeps stays.' })
  const inTime = await absent('in-time', absenceDays - 1)
  expect((await comeBack(inTime.dir, inTime.identity, at.site.url)).id).toBe(inTime.identity.id)
})

test('a key file that was copied before the last renewal is worth nothing', async () => {
  const { dir, identity: copied } = await at.enrol('copied', 'none')
  await using database = await openDatabase(at.site)
  // As if half of its life had passed.
  const aged = `update endpoint_keys set expires_at = expires_at - interval '12 hours' where endpoint_id = $1`
  await database.rows(aged, [copied.id])
  const identity = await renewIdentity(dir, copied)
  const expired = await wasOff(at, { dir, identity }, 5)
  await expect(comeBack(dir, copied, at.site.url)).rejects.toMatchObject(refusedFor('did not sign this'))
  await comeBack(dir, expired, at.site.url)
})

test('nobody comes back as another one, by another key or with an answer for another site', async () => {
  const [victim, thief] = [await absent('victim'), await absent('thief')]
  const own = createPrivateKey(thief.identity.privateKeyPem)
  const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  for (const key of [own, stranger])
    await expect(answered(victim.identity, { key })).rejects.toMatchObject(refusedFor('did not sign this'))
  await expect(answered(victim.identity, { siteId: 'another' })).rejects.toMatchObject(
    refusedFor('did not sign this'),
  )
  const nonce = await nonceFor(thief.identity)
  await expect(answered(victim.identity, { nonce })).rejects.toMatchObject(refusedFor('no fresh nonce'))
  const made = randomBytes(40).toString('base64url')
  await expect(answered(victim.identity, { nonce: made })).rejects.toMatchObject(refusedFor('no fresh nonce'))
  const unknown = { ...victim.identity, id: crypto.randomUUID() }
  await expect(answered(unknown)).rejects.toMatchObject(refusedFor('no such endpoint'))
})

test('an answer is good once, and of several at once one is', async () => {
  const { identity } = await absent('replayed')
  const nonce = await nonceFor(identity)
  const all = await Promise.allSettled([1, 2, 3].map(() => answered(identity, { nonce })))
  expect(all.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  await expect(answered(identity, { nonce })).rejects.toMatchObject({ siteCode: 'ENDPOINT_REFUSED' })
  // Its answer was lost: with the same key it asks anew.
  await answered(identity)
})

test('an answer that was kept for later is worth nothing then', async () => {
  const { identity } = await absent('hoarded')
  const { id: endpointId, siteId } = identity
  const nonce = await nonceFor(identity)
  const statement = renewalStatement({ siteId, endpointId, nonce })
  const signature = sign('sha256', statement, identity.privateKeyPem)
  const later = { ...at.node, now: () => Date.now() + 90_000 }
  await expect(takeBack(later, { endpointId, nonce, signature })).rejects.toMatchObject({
    code: 'ENDPOINT_REFUSED',
    message: expect.stringContaining('no fresh nonce'),
  })
})

test('without its TPM, or by another quote than over this very answer, a copied identity does not come back', async () => {
  const { dir, identity } = await absent('quoted', 5, { tcti: at.tpm.tcti })
  const { tpm: _, ...bare } = identity
  await expect(comeBack(dir, bare, at.site.url)).rejects.toMatchObject({
    siteCode: 'TPM_ATTESTATION_MISSING',
  })
  const other = (await quoteOver(identity, randomBytes(32), { withLog: false })) ?? missing()
  await expect(answered(identity, { attestation: other })).rejects.toMatchObject({
    siteCode: 'TPM_QUOTE_WRONG_NONCE',
  })
  // The TPM alone, without the file, is not enough either.
  const nonce = await nonceFor(identity)
  const { siteId, id: endpointId } = identity
  const over = createHash('sha256').update(renewalStatement({ siteId, endpointId, nonce })).digest()
  const attestation = (await quoteOver(identity, over, { withLog: false })) ?? missing()
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  await expect(answered(identity, { nonce, key, attestation })).rejects.toMatchObject(
    refusedFor('did not sign this'),
  )
  expect(await answered(identity, { nonce, attestation })).toMatchObject({ certificate: expect.any(String) })
})

/** A machine that was enrolled, and off since. */
async function absent(name: string, days = 5, tpm: TpmChoice = 'none') {
  const { dir, identity } = await at.enrol(name, tpm)
  return { dir, identity: await wasOff(at, { dir, identity }, days) }
}

/** The second step by hand; what is not named is as it should be. */
async function answered(
  { id: endpointId, siteId, rootPem, privateKeyPem }: AgentIdentity,
  wrong: {
    readonly nonce?: string
    readonly key?: KeyObject
    readonly siteId?: string
    readonly attestation?: Attestation
  } = {},
) {
  const nonce = wrong.nonce ?? (await nonceFor({ id: endpointId, siteId, rootPem }))
  const statement = renewalStatement({ siteId: wrong.siteId ?? siteId, endpointId, nonce })
  const signature = sign('sha256', statement, wrong.key ?? privateKeyPem).toString('base64url')
  const { attestation } = wrong
  const body = { endpointId, nonce, signature, ...(attestation === undefined ? {} : { attestation }) }
  const tls = clientTls(rootPem, { siteId, role: 'site' })
  return postJson(new URL('/api/v1/renewals', at.site.url), body, renewAnswer, tls)
}

async function nonceFor({
  id: endpointId,
  siteId,
  rootPem,
}: Pick<AgentIdentity, 'id' | 'siteId' | 'rootPem'>) {
  const url = new URL('/api/v1/renewals/nonces', at.site.url)
  const tls = clientTls(rootPem, { siteId, role: 'site' })
  return (await postJson(url, { endpointId }, renewalNonceAnswer, tls)).nonce
}

function refusedFor(why: string) {
  return { siteCode: 'ENDPOINT_REFUSED', message: expect.stringContaining(why) as string }
}

function missing(): never {
  throw new Error('it has no TPM')
}
