import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { callJson } from '#apps/site-client/call.ts'
import {
  hostView,
  peopleAnswer,
  personView,
  policyView,
  tokenAnswer,
  workspaceDefinition,
} from '#core/api/admin.ts'
import { launchAnswer, siteView, workspaceView } from '#core/api/person.ts'
import { apiError } from '#core/api/words.ts'
import { exportPublic, generateX25519 } from '#core/channel/index.ts'
import { sendSigned } from './attacks/raw-request.rig.ts'
import { type RunningSite, signIn, startSite } from './running-site.rig.ts'
import { openDatabase, type SiteDatabase } from './site-database.rig.ts'

const firstAdmin = { login: 'root', name: 'Rita Root', password: 'seven-quiet-otters' }
let site: RunningSite
let database: SiteDatabase
beforeAll(async () => {
  site = await startSite({ demo: false, args: ['--hosts', '1', '--gateways', '1'] })
  database = await openDatabase(site)
})
afterAll(async () => {
  await database[Symbol.asyncDispose]()
  await site[Symbol.asyncDispose]()
})

/** What the log says of people that were created. */
const created = () =>
  database.rows(`select from audit_entries where convert_from(entry, 'UTF8') like '%"person created"%'`)

const anything = z.unknown()
const setup = (token: string) =>
  callJson(site.address, { method: 'POST', path: '/api/v1/setup', body: { token, ...firstAdmin } }, anything)

test('a site without demo content prints a link that makes the first admin, once', async () => {
  const token = /\/setup#token=([A-Za-z0-9_-]{43})/.exec(site.output())?.[1] ?? ''
  const { needsSetup } = await callJson(site.address, { method: 'GET', path: '/api/v1/site' }, siteView)
  expect(needsSetup).toBe(true)
  await expect(setup('A'.repeat(43))).rejects.toMatchObject({ code: 'TOKEN_REFUSED' })
  await database.rows(
    `insert into people (id, login, name, groups, created_at) values ($1, $2, '', '{}', now())`,
    [randomUUID(), firstAdmin.login],
  )
  await expect(setup(token)).rejects.toMatchObject({ code: 'CONFLICT', remedy: 'Choose another user name.' })
  await database.rows('delete from people')
  await setup(token)
  await expect(setup(token)).rejects.toMatchObject({ code: 'CONFLICT' })
  expect(await created()).toHaveLength(1)
})

test('the admin makes a workspace and a person, who opens it; a pool without hosts has no room', async () => {
  const admin = await signIn(site.address, firstAdmin.login, firstAdmin.password)
  const define = (id: string, pool: string) =>
    admin.send(
      'PUT',
      `/admin/workspaces/${id}`,
      {
        id,
        name: id,
        description: '',
        icon: 'terminal',
        pool,
        modes: ['hosted-shared'],
        collections: [],
        program: { kind: 'application', command: ['xterm'] },
      },
      workspaceDefinition,
    )
  await define('here', 'default')
  await define('nowhere', 'empty')
  await expect(
    admin.send(
      'POST',
      '/admin/people',
      { login: 'weak', name: 'Weak', password: 'password1234', groups: [] },
      personView,
    ),
  ).rejects.toMatchObject({ code: 'IDENTITY_PASSWORD_COMMON' })
  await expect(
    admin.send('POST', '/admin/people', { ...firstAdmin, groups: [] }, personView),
  ).rejects.toMatchObject({ code: 'CONFLICT' })
  expect(await created()).toHaveLength(1)
  await admin.send(
    'POST',
    '/admin/people',
    { login: 'pat', name: 'Pat Doe', password: 'rain-on-copper-roofs', groups: ['employees'] },
    personView,
  )

  const pat = await signIn(site.address, 'pat', 'rain-on-copper-roofs')
  const { workspaces } = await pat.get('/workspaces', z.strictObject({ workspaces: z.array(workspaceView) }))
  expect(
    workspaces.map(({ id, decision }) => [id, decision.outcome?.mode ?? decision.refused[0]?.code]),
  ).toEqual([
    ['here', 'hosted-shared'],
    ['nowhere', 'NO_CAPACITY'],
  ])
  const launch = async (workspaceId: string) => {
    const clientKey = Buffer.from(await exportPublic((await generateX25519()).publicKey)).toString(
      'base64url',
    )
    return pat.send('POST', '/launches', { workspaceId, clientKey }, launchAnswer)
  }
  await expect(launch('nowhere')).rejects.toMatchObject({ code: 'LAUNCH_NO_ROOM' })
  const { delivery } = await launch('here')
  expect(delivery.session).toMatchObject({ state: 'ready', mode: 'hosted-shared' })
})

test('a change that is based on what somebody else has changed meanwhile is refused, and so is a new workspace of a name in use', async () => {
  const { credentials } = await signIn(site.address, firstAdmin.login, firstAdmin.password)
  const ask = (path: string, headers: Readonly<Record<string, string>> = {}, body?: unknown) =>
    sendSigned(site, credentials, {
      method: body === undefined ? 'GET' : 'PUT',
      path: `/api/v1/admin/${path}`,
      headers,
      body,
    })
  const policy = policyView.parse(JSON.parse(String((await ask('policy')).body)))
  const here = workspaceDefinition.parse(JSON.parse(String((await ask('workspaces/here')).body)))
  const inside = { kind: 'inside', networks: ['192.0.2.0/24'] }
  for (const [path, first, second, third] of [
    [
      'policy',
      { text: `${policy.text}\n// first` },
      { text: `${policy.text}\n// second` },
      { text: policy.text },
    ],
    [
      'zones',
      { zones: [{ ...inside, name: 'first' }] },
      { zones: [{ ...inside, name: 'second' }] },
      { zones: [] },
    ],
    ['workspaces/here', { ...here, name: 'First' }, { ...here, name: 'Second' }, { ...here, name: 'Third' }],
  ] as const) {
    const basis = { 'if-match': String((await ask(path)).headers['etag']) }
    expect((await ask(path, basis, first)).status, path).toBe(200)
    const late = await ask(path, basis, second)
    expect(late.status, path).toBe(409)
    expect(apiError.parse(JSON.parse(String(late.body)))).toMatchObject({
      code: 'CONFLICT',
      remedy: expect.stringContaining('what is there now'),
    })
    expect(JSON.parse(String((await ask(path)).body)), path).toMatchObject(first)
    const again = { 'if-match': String((await ask(path)).headers['etag']) }
    // As a proxy sends it that compresses.
    again['if-match'] = `W/${again['if-match']}`
    expect((await ask(path, again, second)).status, path).toBe(200)
    // Two who save at the same moment: one of them.
    const seen = { 'if-match': String((await ask(path)).headers['etag']) }
    const both = await Promise.all([ask(path, seen, first), ask(path, seen, third)])
    expect(both.map(({ status }) => status).toSorted(byNumber), path).toEqual([200, 409])
    const kept = both[0].status === 200 ? first : third
    expect(JSON.parse(String((await ask(path)).body)), path).toMatchObject(kept)
    // Whoever says nothing of what they saw replaces what is there, as ever.
    expect((await ask(path, {}, path === 'workspaces/here' ? here : first)).status, path).toBe(200)
  }

  const isNew = { 'if-none-match': '*' }
  const taken = await ask('workspaces/here', isNew, { ...here, name: 'Other' })
  expect(taken.status).toBe(409)
  expect(JSON.parse(String((await ask('workspaces/here')).body))).toEqual(here)
  const fresh = { ...here, id: 'fresh' }
  const made = await Promise.all([1, 2].map(() => ask('workspaces/fresh', isNew, fresh)))
  expect(made.map(({ status }) => status).toSorted(byNumber)).toEqual([200, 409])
  const { people } = peopleAnswer.parse(JSON.parse(String((await ask('people')).body)))
  const pat = people.find(({ login }) => login === 'pat')
  for (const path of ['workspaces/fresh', `people/${pat?.id}`]) {
    const remove = (tag: string) =>
      sendSigned(site, credentials, {
        method: 'DELETE',
        path: `/api/v1/admin/${path}`,
        headers: { 'if-match': tag },
      })
    expect(apiError.parse(JSON.parse(String((await remove('"older"')).body))).code, path).toBe('CONFLICT')
    const { headers } = await ask(path)
    expect((await remove(String(headers['etag']))).status, path).toBe(200)
    expect((await ask(path)).status, path).toBe(404)
  }
})

test('an enrolment token names a pool, is bound to its kind and is worth nothing to somebody else', async () => {
  const admin = await signIn(site.address, firstAdmin.login, firstAdmin.password)
  const { token } = await admin.send(
    'POST',
    '/admin/enrolment-tokens',
    { kind: 'host', name: 'ward-7', pool: 'wards' },
    tokenAnswer,
  )
  const enrol = (body: unknown) =>
    callJson(site.address, { method: 'POST', path: '/api/v1/enrol', body }, anything)
  await expect(enrol({ token, request: 'not a request' })).rejects.toMatchObject({
    code: expect.stringMatching(/^PKI_/),
  })
  const asGateway = await site.cli([
    'enroll',
    site.url,
    '--token',
    token,
    '--gateway',
    '--state',
    `${site.state}/w`,
  ])
  expect(asGateway).toMatchObject({ code: 2, stderr: expect.stringContaining('a host, not for a gateway') })
  const asHost = await site.cli([
    'enroll',
    site.url,
    '--token',
    token,
    '--host',
    '--state',
    `${site.state}/w`,
  ])
  expect(asHost).toMatchObject({ code: 0, stderr: '' })
  const again = await site.cli(['enroll', site.url, '--token', token, '--host', '--state', `${site.state}/v`])
  expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('TOKEN_REFUSED') })
  const { hosts } = await admin.get(
    '/admin/hosts',
    z.strictObject({ hosts: z.array(hostView), gateways: z.array(z.unknown()) }),
  )
  expect(hosts.find(({ name }) => name === 'ward-7')).toMatchObject({ pool: 'wards', online: false })
})

function byNumber(a: number, b: number): number {
  return a - b
}
