import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { peopleAnswer, personView } from '#core/api/admin.ts'
import { hostedLaunchAnswer, sessionView } from '#core/api/person.ts'
import { exportPublic, generateX25519 } from '#core/channel/index.ts'
import { type RunningSite, signIn, startSite, until } from './running-site.rig.ts'
import { type SecondNode, startSecondNode } from './second-node.rig.ts'

let site: RunningSite
let second: SecondNode
let undo: AsyncDisposableStack

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  site = undo.use(await startSite({ args: ['--hosts', '1', '--gateways', '1'] }))
  second = undo.use(await startSecondNode(site))
})
afterAll(() => undo.disposeAsync())

const sessions = z.strictObject({ sessions: z.array(sessionView) })

test('any node serves any request: a launch at one is delivered by a host that is connected to the other', async () => {
  const nora = await signIn(second, 'nora')
  const clientKey = Buffer.from(await exportPublic((await generateX25519()).publicKey)).toString('base64url')
  const { delivery } = await nora.send(
    'POST',
    '/launches',
    { workspaceId: 'terminal', clientKey },
    hostedLaunchAnswer,
  )
  expect(delivery.session.state).toBe('ready')
  const atTheFirst = await (await site.signIn('nora')).get('/sessions', sessions)
  expect(atTheFirst.sessions.map(({ id }) => id)).toEqual([delivery.session.id])
})

test('a change at one node is decided at once for what was launched at the other', async () => {
  const ada = await site.signIn('ada')
  const { people } = await ada.get('/admin/people', peopleAnswer)
  const nora = people.find(({ login }) => login === 'nora')
  await ada.send('PATCH', `/admin/people/${nora?.id}`, { groups: ['contractors'] }, personView)
  const elsewhere = await signIn(second, 'nora')
  await until(async () => {
    const { sessions: live } = await elsewhere.get('/sessions', sessions)
    return live[0]?.rights.includes('clipboard-out') === false && live[0].obligations.watermark
  }, 'the session has lost the right to copy out')
})

test('a web session of one node is one of the other, and so is its end', async () => {
  const carl = await site.signIn('carl')
  const { callJson } = await import('#apps/site-client/call.ts')
  const ask = () => callJson(second, { method: 'GET', path: '/api/v1/sessions' }, sessions, carl.credentials)
  expect(await ask()).toEqual({ sessions: [] })
  await carl.send('DELETE', '/web-sessions/current', undefined, z.strictObject({}))
  await expect(ask()).rejects.toMatchObject({ code: 'NOT_SIGNED_IN' })
})
