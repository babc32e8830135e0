import { generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { addEndpointKey, insertAgent, noteBrowserEndpoint } from '#adapters/store-postgres/index.ts'
import { badWayBeside } from '#apps/site/endpoints/endpoint-beside.ts'
import { pathNonce, takePathEvidence } from '#apps/site/evidence/path-evidence.ts'
import { makeEvidence } from '#core/evidence/index.ts'
import { addSignIn, openNodes } from './site-nodes.rig.ts'

const exporter = (): string => randomBytes(32).toString('base64url')

test('a statement that tells of interception is written down once, however often it is brought, and counts for the browser there', async () => {
  await using nodes = await openNodes()
  const { one } = nodes
  const { db } = one.store
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const [id, later] = [randomUUID(), new Date(Date.now() + 3_600_000)]
  const machine = { name: 'laptop', dns_names: [], pool: 'default', certificate_expires_at: later }
  await insertAgent(db, { ...machine, id, kind: 'endpoint' })
  const public_key = publicKey.export({ format: 'der', type: 'spki' })
  await addEndpointKey(db, { endpoint_id: id, public_key, expires_at: later })
  const statement = (): string =>
    makeEvidence(
      {
        endpoint: id,
        site: one.siteId,
        nonce: pathNonce(one, id),
        sequence: 1,
        at: Date.now(),
        exporter: exporter(),
        observations: [],
      },
      privateKey,
    )
  const seen = statement()
  for (let times = 0; times < 5; times += 1)
    expect(await takePathEvidence(one, id, seen, exporter())).toBe('detected')
  expect(await nodes.entries('evidence-refused')).toHaveLength(1)
  expect(await takePathEvidence(one, id, statement(), exporter())).toBe('detected')
  expect(await nodes.entries('evidence-refused')).toHaveLength(2)

  // The browser that was seen on it stays there, however long its page sleeps: it holds a key that cannot leave it.
  const { web_session_id: browser } = await addSignIn(one)
  await noteBrowserEndpoint(db, browser, id, new Date(Date.now() - 3_600_000))
  expect(await badWayBeside(one, browser, { asBefore: false })).toMatchObject([
    { name: 'network.interception', value: 'detected' },
  ])
})
