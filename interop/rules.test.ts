import { expect, test } from 'vitest'
import { writeZones } from '#adapters/store-postgres/index.ts'
import { readRules } from '#apps/site/rules.ts'
import { openNodes } from './site-nodes.rig.ts'

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
