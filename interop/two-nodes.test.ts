import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { callJson } from '#apps/site-client/call.ts'
import { deletionView, peopleAnswer, personView } from '#core/api/admin.ts'
import { timelineAnswer } from '#core/api/data.ts'
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
  const ask = () => callJson(second, { method: 'GET', path: '/api/v1/sessions' }, sessions, carl.credentials)
  expect(await ask()).toEqual({ sessions: [] })
  await carl.send('DELETE', '/web-sessions/current', undefined, z.strictObject({}))
  await expect(ask()).rejects.toMatchObject({ code: 'NOT_SIGNED_IN' })
})

test('who was deleted at one node is nobody at the other, and nothing of them runs on a host that hears of it later', async () => {
  const ada = await site.signIn('ada')
  const password = 'a-long-password-1'
  const wish = { login: 'dora', name: 'Dora', password, groups: ['employees'] }
  const { id } = await ada.send('POST', '/admin/people', wish, personView)
  const dora = await signIn(second, 'dora', password)
  const clientKey = Buffer.from(await exportPublic((await generateX25519()).publicKey)).toString('base64url')
  const body = { workspaceId: 'terminal', clientKey }
  const { delivery } = await dora.send('POST', '/launches', body, hostedLaunchAnswer)
  const display = async (): Promise<boolean> => {
    const run = join(site.state, 'run/host-1')
    const states = (await readdir(run)).map(async (name) =>
      readFile(join(run, name, 'state.json'), 'utf8').catch(() => ''),
    )
    return (await Promise.all(states)).some((state) => state.includes(delivery.session.id))
  }
  expect(await display()).toBe(true)
  const hosts = await site.pidsOf('host-1')
  for (const pid of hosts) process.kill(pid, 'SIGSTOP')
  try {
    const path = `/admin/people/${id}`
    const outlook = await ada.get(`${path}/deletion`, deletionView)
    expect(outlook).toMatchObject({ sessions: 1, leases: 0, person: { hosts: ['host-1'] } })
    expect(await ada.send('DELETE', path, undefined, deletionView)).toEqual(outlook)
    const ask = callJson(second, { method: 'GET', path: '/api/v1/me' }, z.unknown(), dora.credentials)
    await expect(ask).rejects.toMatchObject({ code: 'NOT_SIGNED_IN' })
    await expect(signIn(second, 'dora', password)).rejects.toMatchObject({ code: 'SIGN_IN_REFUSED' })
    for (const again of [path, `/admin/people/${crypto.randomUUID()}`])
      await expect(ada.send('DELETE', again, undefined, z.unknown())).rejects.toMatchObject({
        code: 'NOT_FOUND',
        remedy: expect.any(String) as string,
      })
    const runs = async () =>
      (await ada.get('/admin/sessions', z.looseObject({ sessions: z.array(sessionView) }))).sessions
    await until(
      async () => !(await runs()).some((one) => one.person.login === 'dora'),
      'the site has ended it',
    )
    expect(await display()).toBe(true)
  } finally {
    for (const pid of hosts) process.kill(pid, 'SIGCONT')
  }
  await until(async () => !(await display()), 'the host has ended it')

  await ada.send('POST', '/admin/people', wish, personView)
  const next = await signIn(second, 'dora', password)
  expect((await next.get('/sessions', sessions)).sessions).toEqual([])
  // Auditors find both by the login, each with an id of its own.
  const { entries, names } = await (await site.signIn('olaf')).get('/timeline?person=dora', timelineAnswer)
  const deeds = entries.map(({ data }) => (data as { readonly change?: string }).change)
  expect(deeds.filter((deed) => deed?.startsWith('person '))).toEqual([
    'person created',
    'person deleted',
    'person created',
  ])
  expect(entries.find(({ kind }) => kind === 'session-ended')).toMatchObject({
    actor: { type: 'admin' },
    data: { code: 'SESSION_PERSON_DELETED' },
  })
  expect(names[id]).toBe('Dora')
})
