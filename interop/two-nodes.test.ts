import { spawn } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parse, stringify } from 'yaml'
import { z } from 'zod'
import type { SiteConfig } from '#apps/site/config.ts'
import { personView } from '#core/api/admin.ts'
import { hostedLaunchAnswer, sessionView } from '#core/api/person.ts'
import { exportPublic, generateX25519 } from '#core/channel/index.ts'
import { pidsMatching, type RunningSite, signIn, startSite, until } from './running-site.rig.ts'

let site: RunningSite
let second: { readonly url: string; readonly ca: string }
const started = new AbortController()

beforeAll(async () => {
  site = await startSite({ args: ['--hosts', '1', '--gateways', '1'] })
  // Beyond the ports of the first: people, agents.
  const port = site.port + 4
  second = { url: `https://localhost:${port}`, ca: site.address.ca ?? '' }
  const first = parse(await readFile(join(site.state, 'site.yaml'), 'utf8')) as SiteConfig
  const file = join(site.state, 'site-2.yaml')
  const agents = { ...first.agents, port: port + 1 }
  await writeFile(file, stringify({ ...first, url: second.url, listen: { ...first.listen, port }, agents }))
  const node = spawn(join(import.meta.dirname, '../trustcast'), ['site', '--config', file], {
    stdio: 'ignore',
  })
  started.signal.addEventListener('abort', () => node.kill('SIGTERM'))
  await until(
    () =>
      signIn(second, 'olaf').then(
        () => true,
        () => false,
      ),
    'the second node serves',
  )
})

afterAll(async () => {
  started.abort()
  await until(
    async () => (await pidsMatching(`${site.state}/site-2.yaml`)).length === 0,
    'the second node has ended',
  )
  await site[Symbol.asyncDispose]()
})

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
  const { people } = await ada.get('/admin/people', z.strictObject({ people: z.array(personView) }))
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
