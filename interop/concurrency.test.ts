import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openAlarms, raiseAlarm, sessionById, workRedecisions } from '#adapters/store-postgres/index.ts'
import { isBraking, judgeBrake } from '#apps/site/brake.ts'
import { decideAgain } from '#apps/site/decide-again.ts'
import { addHost, addSession, openNodes, type SiteNodes } from './site-nodes.rig.ts'

/** What happens at once, at one node or at two, and must not come into each other's way. */

let nodes: SiteNodes
let hostId: string

beforeAll(async () => {
  nodes = await openNodes()
  hostId = await addHost(nodes.one)
})
afterAll(() => nodes[Symbol.asyncDispose]())

test('a brake that is to be let go holds up no re-decision; whoever watches lets go, and what it held back is decided', async () => {
  const { one } = nodes
  const { db } = one.store
  const session = await addSession(one, hostId)
  const words = { kind: 'brake', message: '', remedy: '' } as const
  await raiseAlarm(db, { id: randomUUID(), key: 'brake', ...words, raised_at: new Date() })
  await decideAgain(one, 'evidence', { sessionId: session })
  const held: boolean[] = []
  await workRedecisions(db, async () => void held.push(await isBraking(one)))
  expect(held).toEqual([false])
  await judgeBrake(one)
  expect(await openAlarms(db)).toEqual([])
  const left: string[] = []
  await workRedecisions(db, async (id) => void left.push(id))
  expect(left).toContain(session)
})

test('however many ask for a session that is being decided, that work and everybody else find a connection', async () => {
  const { one } = nodes
  const { db } = one.store
  const session = await addSession(one, hostId)
  await decideAgain(one, 'sweep', { sessionId: session })
  const begun = Promise.withResolvers<void>()
  const asked = Promise.withResolvers<void>()
  const working = workRedecisions(db, async (id) => {
    begun.resolve()
    await asked.promise
    await sessionById(db, id)
  })
  await begun.promise
  const asking = Array.from({ length: 40 }, () => decideAgain(one, 'sweep', { sessionId: session }))
  const found = await sessionById(db, session).finally(() => asked.resolve())
  expect(found).toMatchObject({ id: session })
  expect(await working).toBeGreaterThan(0)
  await Promise.all(asking)
})
