import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { insertAgent, personById, revokeAgent, writeZones } from '#adapters/store-postgres/index.ts'
import { explain } from '#apps/site/launches/explaining.ts'
import { readRules } from '#apps/site/launches/rules.ts'
import { activatePolicy } from '#apps/site/people/administering.ts'
import type { SignedIn } from '#apps/site/people/signed-in.ts'
import { addHost, addPerson, openNodes } from './site-nodes.rig.ts'

test('zones are compiled once for what they say, and what they say now counts at every node', async () => {
  await using nodes = await openNodes()
  const { db } = nodes.one.store
  const kindNow = async () => (await readRules(nodes.two.store.db)).zoneOf('10.0.0.1').kind
  expect(await kindNow()).toBe('outside')
  await writeZones(db, [{ name: 'office', kind: 'inside', networks: ['10.0.0.0/8'] }])
  expect(await kindNow()).toBe('inside')
  const [first, second] = [await readRules(db), await readRules(db)]
  expect(second.findZone).toBe(first.findZone)
  await writeZones(db, [{ name: 'office', kind: 'hostile', networks: ['10.0.0.0/8'] }])
  expect(await kindNow()).toBe('hostile')
})

test('a device that is asked about by its name is the one that is enrolled, not one that was; of several none', async () => {
  await using nodes = await openNodes()
  const { one } = nodes
  await addHost(one)
  const system = { type: 'system', id: 'test' } as const
  const when = 'context.endpoint.management.value == "managed"'
  await activatePolicy(
    one,
    `@id("managed") permit (principal, action, resource) when { ${when} };`,
    '',
    system,
  )
  const person = await personById(one.store.db, await addPerson(one, ['admins']))
  const circumstances = { person, signedInAt: one.now(), address: '127.0.0.1', endpoint: undefined }
  const caller = { person, circumstances } as SignedIn
  const add = async (name: string) => {
    const certificate_expires_at = new Date()
    const id = randomUUID()
    const machine = { kind: 'endpoint', pool: 'default', certificate_expires_at } as const
    await insertAgent(one.store.db, { ...machine, dns_names: [], id, name })
    return id
  }
  const reasonFor = async (endpoint: string) =>
    (await explain(one, caller, { workspace: 'desk', endpoint })).decision.refused[0]?.code
  const old = await add('laptop')
  await revokeAgent(one.store.db, old, new Date())
  expect(await reasonFor('laptop')).toBe('POLICY_NO_PERMIT')
  const ids = [await add('laptop')]
  expect(await reasonFor('laptop')).not.toBe('POLICY_NO_PERMIT')
  expect(await reasonFor(old)).toBe('POLICY_NO_PERMIT')
  ids.push(await add('laptop'))
  await expect(reasonFor('laptop')).rejects.toMatchObject({ code: 'CONFLICT' })
  for (const id of ids) expect(await reasonFor(id)).not.toBe('POLICY_NO_PERMIT')
})
