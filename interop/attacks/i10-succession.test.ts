import { randomBytes } from 'node:crypto'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { createIdentityKey } from '#adapters/pki-x509/index.ts'
import { personByLogin } from '#adapters/store-postgres/index.ts'
import { type AgentIdentity, enrolAgent, quoteOver } from '#apps/agent-client/index.ts'
import { renewIdentity } from '#apps/agent-client/keep-renewed.ts'
import { proveFormer } from '#apps/agent-client/prove-former.ts'
import { startEndpointAgent } from '#apps/endpoint/endpoint-agent.ts'
import { discardsOf, noteDiscarded } from '#apps/site/data/discards.ts'
import { provenFormer } from '#apps/site/endpoints/succession.ts'
import { markForked } from '#apps/site/evidence/evidence.ts'
import { tokenAnswer } from '#core/api/admin.ts'
import type { FormerIdentity } from '#core/api/device-keys.ts'
import { startTpmSite, type TpmSite, wasOff } from '../device-keys.rig.ts'

/** I10: only a machine that has proven what it was hears, and answers, what that was to discard. */

vi.setConfig({ testTimeout: 120_000 })
const log = { info: () => undefined, warn: () => undefined }
let at: TpmSite

beforeAll(async () => {
  at = await startTpmSite()
}, 240_000)
afterAll(() => at[Symbol.asyncDispose]())

test.each(['a key file', 'a TPM'])(
  'a machine known by %s that is enrolled again discards what it was to discard before',
  async (known) => {
    const name = `again-${known.endsWith('TPM') ? 'tpm' : 'file'}`
    const tpm = known === 'a TPM' ? { tcti: at.tpm.tcti } : 'none'
    const { dir, identity: first } = await at.enrol(name, tpm)
    const personId = await owe(first)
    await revoke(first)
    const { identity: second } = await at.enrol(name, tpm)
    await revoke(second)
    const { identity: third } = await at.enrol(name, tpm)
    expect(await discardsOf(at.node, second.id)).toEqual([])
    const written = join(dir, 'overlays', personId, 'office/1')
    await mkdir(written, { recursive: true })
    await writeFile(join(written, 'lock'), '')
    await using _ = await startEndpointAgent({ dir, version: 'test', log })
    await expect.poll(() => isDone(first)).toBe(true)
    expect(await readdir(join(dir, 'overlays'))).toEqual([])
    // What is left of the first is asked of the third from then on.
    await owe(first)
    await expect.poll(() => isDone(first)).toBe(true)
    expect(third.id).not.toBe(second.id)
  },
)

test('a host that is enrolled again proves what it was, too', async () => {
  const dir = join(at.dir, 'host')
  const enrolled = async (): Promise<AgentIdentity> => {
    const wish = { kind: 'host', name: 'host-9' }
    const { token } = await at.admin.send('POST', '/admin/enrolment-tokens', wish, tokenAnswer)
    return enrolAgent({ url: at.site.url, token, dir, kind: 'host' })
  }
  const first = await enrolled()
  await revoke(first)
  const second = await enrolled()
  expect((await at.row(first.id)).succeeded_by).toBe(second.id)
})

test('a machine that does not prove it hears nothing, and its word about it counts for nothing', async () => {
  const { identity: former } = await at.enrol('unproven', 'none')
  const personId = await owe(former)
  await revoke(former)
  const { identity: stranger } = await at.enrol('stranger', 'none')
  expect(await discardsOf(at.node, stranger.id)).toEqual([])
  await noteDiscarded(at.node, stranger.id, [{ personId }])
  expect(await isDone(former)).toBe(false)
})

test('another key, another request, another kind, a certificate of another site, and a machine that lives prove nothing', async () => {
  const { identity: former } = await at.enrol('former', 'none')
  const { identity: thief } = await at.enrol('thief', 'none')
  expect(await claim(former)).toBeUndefined()
  await revoke(former)
  const own = { ...former, privateKeyPem: thief.privateKeyPem }
  expect(await claim(own)).toBeUndefined()
  expect(await claim({ ...own, chainPem: thief.chainPem })).toBeUndefined()
  const { requestPem } = await createIdentityKey()
  const honest = await proofOf(former, requestPem)
  const [leaf = '', intermediate = ''] = former.chainPem.split(/(?<=-----END CERTIFICATE-----)/)
  const { requestPem: other } = await createIdentityKey()
  expect(await provenFormer(at.node, 'endpoint', other, honest)).toBeUndefined()
  expect(await provenFormer(at.node, 'host', requestPem, honest)).toBeUndefined()
  for (const certificate of ['', 'x', leaf, leaf + leaf, intermediate + leaf, leaf + former.rootPem])
    expect(await provenFormer(at.node, 'endpoint', requestPem, { ...honest, certificate })).toBeUndefined()
  expect(await provenFormer(at.node, 'endpoint', requestPem, honest)).toBe(former.id)
})

test('a copy from before the last renewal, one that was seen twice, and a second heir prove nothing', async () => {
  const copied = await at.enrol('copied', 'none')
  const ago = sql<Date>`expires_at - interval '12 hours'`
  const keys = at.node.store.db.updateTable('endpoint_keys').set({ expires_at: ago })
  await keys.where('endpoint_id', '=', copied.identity.id).execute()
  const renewed = await renewIdentity(copied.dir, copied.identity)
  await revoke(renewed)
  expect(await claim(copied.identity)).toBeUndefined()
  expect(await claim(renewed)).toBe(renewed.id)
  await markForked(at.node, renewed.id)
  expect(await claim(renewed)).toBeUndefined()

  const { dir, identity } = await at.enrol('heir', 'none')
  await revoke(identity)
  await at.enrol('heir', 'none')
  // Until it comes its answer may have been lost.
  expect(await claim(identity)).toBe(identity.id)
  await using agent = await startEndpointAgent({ dir, version: 'test', log })
  expect(await agent.untilConnected(20_000)).toBe(true)
  expect(await claim(identity)).toBeUndefined()
})

test('what a TPM knew is proven by that TPM alone', async () => {
  const enrolled = await at.enrol('quoted', { tcti: at.tpm.tcti })
  const identity = await wasOff(at, enrolled, 40)
  const past = sql<Date>`now() - interval '40 days'`
  const agents = at.node.store.db.updateTable('agents').set({ certificate_expires_at: past })
  await agents.where('id', '=', identity.id).execute()
  const { tpm: _, ...bare } = identity
  expect(await claim(bare)).toBeUndefined()
  const attestation = await quoteOver(identity, randomBytes(32), { withLog: false })
  expect(await claim(bare, attestation === undefined ? {} : { attestation })).toBeUndefined()
  expect(await claim(identity)).toBe(identity.id)
})

/** What a machine with this identity, enrolled again, is taken for. */
async function claim(
  former: AgentIdentity,
  change: Partial<FormerIdentity> = {},
): Promise<string | undefined> {
  const { requestPem } = await createIdentityKey()
  const said = { ...(await proofOf(former, requestPem)), ...change }
  return provenFormer(at.node, 'endpoint', requestPem, said)
}

async function proofOf(former: AgentIdentity, request: string): Promise<FormerIdentity> {
  const proof = await proveFormer(former, request)
  if (proof === undefined) throw new Error('its TPM did not quote')
  return proof
}

/** As if a deletion had asked this endpoint to discard. @returns whose */
async function owe({ id }: AgentIdentity): Promise<string> {
  const { db } = at.node.store
  const person = await personByLogin(db, 'carl')
  if (person === undefined) throw new Error('there is no carl')
  await sql`
    insert into discards (agent_id, person_id, scope, asked_at) values (${id}, ${person.id}, '', now())
    on conflict (agent_id, person_id, scope) do update set done_at = null`.execute(db)
  await at.node.hints.tell({ topic: 'endpoint', id: (await at.row(id)).succeeded_by ?? id })
  return person.id
}

async function isDone({ id }: AgentIdentity): Promise<boolean> {
  const { db } = at.node.store
  const open = db
    .selectFrom('discards')
    .select('agent_id')
    .where('agent_id', '=', id)
    .where('done_at', 'is', null)
  return (await open.execute()).length === 0
}

async function revoke({ id }: AgentIdentity): Promise<void> {
  await at.admin.send('POST', `/admin/agents/${id}/revoke`, {}, z.unknown())
}
