import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { peopleAnswer } from '#core/api/admin.ts'
import { endpointClaimsAnswer } from '#core/api/evidence.ts'
import { endpointsAnswer, imageUseAnswer, leasesAnswer } from '#core/api/lease.ts'
import { sessionsAnswer } from '#core/api/person.ts'
import { passwordOf, type RunningSite, type SignedInClient, startSite } from './running-site.rig.ts'
import { openDatabase, type SiteDatabase } from './site-database.rig.ts'

/** Lists as long as a large organisation's: each is answered page by page, and nobody is beyond its end. */

const many = 5_100
/** Of them the first and the last have something open. */
const busy = 500
let site: RunningSite
let database: SiteDatabase
let ada: SignedInClient

beforeAll(async () => {
  site = await startSite({ args: ['--hosts', '1', '--gateways', '1'] })
  database = await openDatabase(site)
  ada = await site.signIn('ada')
  for (const statement of made) await database.rows(statement)
}, 120_000)

afterAll(async () => {
  await database?.[Symbol.asyncDispose]()
  await site?.[Symbol.asyncDispose]()
})

test('endpoints are listed by name, page by page, without what is known of each', async () => {
  const first = await ada.get('/endpoints', endpointsAnswer)
  expect(first.count).toEqual({ all: many + 1, online: many })
  expect(first.endpoints).toHaveLength(50)
  expect(first.endpoints[0]).toMatchObject({
    name: 'laptop-00001',
    group: 'ward',
    reports: true,
    owner: { login: 'person-00001' },
    leases: [{ image: 'desk', person: { login: 'person-00001' } }],
  })
  expect(JSON.stringify(first).length).toBeLessThan(100_000)

  const names: string[] = []
  let next: string | undefined
  do {
    const query = new URLSearchParams({ limit: '200', ...(next === undefined ? {} : { after: next }) })
    const page = await ada.get(`/endpoints?${String(query)}`, endpointsAnswer)
    names.push(...page.endpoints.map(({ name }) => name))
    next = page.next
  } while (next !== undefined)
  expect(names).toHaveLength(many + 1)
  expect(names).toEqual(names.toSorted())
  // Two of one name: the one was withdrawn and enrolled again.
  expect(names.slice(-2)).toEqual(['laptop-05100', 'laptop-05100'])
})

test('endpoints are found by name, group and owner, and counted; what is known of one is asked for by itself', async () => {
  const found = await ada.get('/endpoints?search=LAPTOP-05100', endpointsAnswer)
  expect(found).toMatchObject({ count: { all: 2, online: 1 }, endpoints: [{}, {}] })
  expect(found.next).toBeUndefined()
  expect((await ada.get('/endpoints?search=person-05099', endpointsAnswer)).endpoints).toMatchObject([
    { name: 'laptop-05099', leases: [{ state: 'held' }] },
  ])
  expect((await ada.get('/endpoints?search=100%25', endpointsAnswer)).count).toEqual({ all: 0, online: 0 })
  const [one] = found.endpoints.filter(({ revoked }) => !revoked)
  const { claims, changes } = await ada.get(`/endpoints/${one?.id}/claims`, endpointClaimsAnswer)
  expect(claims.map(({ name }) => name)).toContain('endpoint.diskEncryption')
  expect(changes).toHaveLength(1)
})

test('those that booted something else are listed by themselves', async () => {
  const { endpoints, count } = await ada.get('/endpoints?boot=changed', endpointsAnswer)
  expect(endpoints.map(({ name, boot }) => [name, boot?.state])).toEqual([
    ['laptop-00007', 'changed'],
    ['laptop-00008', 'changed'],
  ])
  expect(count.all).toBe(2)
})

test('where an image is in use is counted and listed by the site', async () => {
  const { uses, groups } = await ada.get('/images/use', imageUseAnswer)
  expect(uses).toEqual([{ image: 'desk', version: '1', leases: busy }])
  expect(groups).toEqual(['ward'])
  const found = await ada.get('/leases?image=desk&version=1&search=laptop-05100', leasesAnswer)
  expect(found).toMatchObject({ count: 1, leases: [{ endpoint: { name: 'laptop-05100', online: true } }] })
  expect((await ada.get('/leases?image=other', leasesAnswer)).leases).toEqual([])
  const first = await ada.get('/leases?limit=200', leasesAnswer)
  const second = await ada.get(`/leases?limit=200&after=${first.next}`, leasesAnswer)
  expect(new Set([...first.leases, ...second.leases].map(({ id }) => id)).size).toBe(400)
  expect(first.count).toBe(busy)
})

test('a person beyond the five thousandth is found and changed', async () => {
  const { people, count, groups } = await ada.get('/admin/people?search=person-05100', peopleAnswer)
  expect(count).toBe(1)
  expect(groups).toContain('night-shift')
  const path = `/admin/people/${people[0]?.id}`
  await ada.send('PATCH', path, { groups: ['employees'] }, z.unknown())
  const first = await ada.get('/admin/people?limit=2', peopleAnswer)
  const second = await ada.get(`/admin/people?limit=2&after=${first.next}`, peopleAnswer)
  const logins = [...first.people, ...second.people].map(({ login }) => login)
  expect(logins).toEqual(logins.toSorted())
  expect(new Set(logins).size).toBe(4)
  expect(first.count).toBeGreaterThan(many)
})

test('sessions are listed page by page, and found by who has them', async () => {
  const first = await ada.get('/admin/sessions?limit=200', sessionsAnswer)
  expect(first).toMatchObject({ count: busy, next: expect.any(String) })
  const second = await ada.get(`/admin/sessions?limit=200&after=${first.next}`, sessionsAnswer)
  expect(new Set([...first.sessions, ...second.sessions].map(({ id }) => id)).size).toBe(400)
  const found = await ada.get('/admin/sessions?search=person-05100', sessionsAnswer)
  expect(found).toMatchObject({ count: 1, sessions: [{ endpoint: { name: 'laptop-05100' } }] })
  const root = join(site.state, 'pki/root.pem')
  const login = { login: 'ada', input: `${passwordOf('ada')}\n` }
  await site.cli(['login', site.url, '--user', 'ada', '--ca', root], login)
  const { stdout } = await site.cli(['sessions', '--all'], login)
  expect(stdout.match(/person-\d{5}/g)).toHaveLength(busy)
})

const obligations = {
  clipboardMaxBytes: 0,
  watermark: false,
  sessionMinutes: 600,
  idleMinutes: 30,
  disconnectMinutes: 120,
  leaseMinutes: 15,
  overlay: 'discard',
}
const observations = JSON.stringify(
  Array.from({ length: 14 }, (_, i) => ({
    collector: `collector-${i}`,
    claim: 'endpoint.diskEncryption',
    value: 'on',
    detail: 'x'.repeat(80),
  })),
)
const changes = JSON.stringify([
  { at: '2026-01-01T00:00:00Z', changes: [{ claim: 'endpoint.reporting', from: 'silent', to: 'current' }] },
])
const boot = (pcr: string) => ({ pcrs: { '7': pcr } })
const booted = (since: string, baseline: string) =>
  JSON.stringify({ baseline: boot(baseline), current: boot('b'), since, resetCount: 1 })
const number = `lpad(n::text, 5, '0')`

/** An endpoint for each person; of the last endpoint also its earlier enrolment. */
const made: readonly string[] = [
  `insert into people (id, login, name, groups, created_at)
   select gen_random_uuid(), 'person-' || ${number}, 'Person ' || n, '{night-shift}', now() from generate_series(1, ${many}) n`,
  `insert into agents (id, kind, name, dns_names, pool, certificate_expires_at, report, last_seen_at, seal_key, owner_id)
   select gen_random_uuid(), 'endpoint', 'laptop-' || ${number}, '{}', 'ward', now() + interval '1 day', '{}', now() + interval '1 hour',
     '\\x00', p.id
   from generate_series(1, ${many}) n join people p on p.login = 'person-' || ${number}`,
  `insert into agents (id, kind, name, dns_names, pool, certificate_expires_at, report, revoked_at, last_seen_at)
   values (gen_random_uuid(), 'endpoint', 'laptop-05100', '{}', 'ward', now(), '{}', now(), now() + interval '1 hour')`,
  `update agents set device_key = 'tpm', ak_public = '\\x00', boot = '${booted('2026-01-01T00:00:00Z', 'a')}'
   where name in ('laptop-00007', 'laptop-00008')`,
  `update agents set device_key = 'tpm', ak_public = '\\x00', boot = '${booted('2026-01-01T00:00:00Z', 'b')}'
   where name = 'laptop-00009'`,
  `insert into endpoint_evidence (endpoint_id, version, sequence, basis, last_at, address, observations, silent, settled, fallen, changes)
   select id, 1, 1, 1, now() + interval '1 hour', '10.0.0.1', '${observations}', false, '{}', '{}', '${changes}'
   from agents where kind = 'endpoint'`,
  `insert into sessions (id, person_id, workspace_id, endpoint_id, mode, account, width, height, state, rights, restrictions, obligations,
     evidence, decision_id, started_at, ends_at)
   select gen_random_uuid(), a.owner_id, (select id from workspaces limit 1), a.id, 'local-vm', 'a', 1, 1, 'ending', '{}', '[]',
     '${JSON.stringify(obligations)}', '[]', gen_random_uuid(), now(), now() + interval '9 hours'
   from agents a where a.owner_id is not null and (a.name <= 'laptop-00400' or a.name > 'laptop-05000')`,
  `insert into leases (id, session_id, person_id, endpoint_id, workspace_id, image, version, counter, manifest_digest, mode, overlay, state,
     made_at, key_released_at, expires_at)
   select gen_random_uuid(), id, person_id, endpoint_id, workspace_id, 'desk', '1', 1, 'd', 'local-vm', 'discard', 'held',
     now(), now(), now() + interval '9 hours' from sessions where endpoint_id is not null`,
]
