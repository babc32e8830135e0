import { randomBytes, randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import * as fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { createLoginKey } from '#apps/cli/login-file.ts'
import type { Credentials } from '#apps/site-client/call.ts'
import { policyView } from '#core/api/admin.ts'
import { unattendedHeader } from '#core/api/unattended.ts'
import { makeProof, proofHeader } from '#core/identity/proof.ts'
import { defaultPolicy } from '#core/policy/index.ts'
import { newKey } from '../hosted-person.rig.ts'
import { type RunningSite, type SignedInClient, signIn, startSite } from '../running-site.rig.ts'
import { openDatabase, type SiteDatabase } from '../site-database.rig.ts'
import {
  type RawAnswer,
  type RawRequest,
  refusalIn,
  send,
  sendSigned,
  signInFrom,
} from './raw-request.rig.ts'

/** Where nobody else is slowed by what happens there. */
const elsewhere = '127.0.0.7'
const api = '/api/v1'

let site: RunningSite
let database: SiteDatabase
let ada: SignedInClient
let nora: Credentials
beforeAll(async () => {
  site = await startSite()
  database = await openDatabase(site)
  ada = await site.signIn('ada')
  nora = (await site.signIn('nora')).credentials
})
afterAll(async () => {
  await database?.[Symbol.asyncDispose]()
  await site?.[Symbol.asyncDispose]()
})

test('a site without a policy delivers nothing', async () => {
  await using lock = await openDatabase(site)
  const kept = await lock.rows('delete from policies returning text, digest, activated_at, activated_by')
  try {
    const refusal = await refusalOfLaunch()
    expect(refusal).toMatchObject({ code: 'LAUNCH_REFUSED' })
    expect(refusal.decision?.outcome).toBeUndefined()
  } finally {
    for (const { text, digest, activated_at, activated_by } of kept)
      await lock.rows(
        'insert into policies (text, digest, activated_at, activated_by) values ($1, $2, $3, $4)',
        [text, digest, activated_at, activated_by],
      )
  }
})

test('a policy that does not validate is not activated, and the old one stays', async () => {
  const before = await ada.get('/admin/policy', policyView)
  const broken = {
    'no Cedar': 'let everybody in',
    'an attribute that is none': withRule('context.endpoint.mangement.value == "managed"'),
    'an unknown claim': withRule('context.endpoint.karma.value == "good"'),
    'a group of another kind': 'permit (principal in Workspace::"x", action, resource);',
    'an unknown action': '@id("x") permit (principal, action == Action::"everything", resource);',
    'an annotation of the wrong kind':
      '@id("x")\n@sessionMinutes("many")\npermit (principal, action, resource);',
    'two rules of one name':
      '@id("x") permit (principal, action, resource);\n@id("x") permit (principal, action, resource);',
    'brackets without end': `@id("x") permit (principal, action, resource) when { ${'('.repeat(20_000)}`,
  }
  for (const [what, text] of Object.entries(broken)) {
    const answer = await sendSigned(site, ada.credentials, {
      method: 'PUT',
      path: `${api}/admin/policy`,
      body: { text },
    })
    expect(answer.status, what).toBe(400)
    expect(refusalIn(answer).code, what).toMatch(/^POLICY_/)
  }
  expect(await ada.get('/admin/policy', policyView)).toEqual(before)
})

test('a rule that breaks while it is asked denies, even where a permit would stand', async () => {
  // Cedar alone leaves out a rule that overflows: for a forbid that would be a permit.
  const overflow = `context.endpoint.antivirus.ageSec * 9007199254740991 * 9007199254740991 > 0`
  const rules = `${defaultPolicy}\n@id("breaks") @reason("x") forbid (principal, action, resource) when { ${overflow} };`
  await ada.send('PUT', '/admin/policy', { text: rules }, z.unknown())
  const refusal = await refusalOfLaunch()
  await ada.send('PUT', '/admin/policy', { text: defaultPolicy }, z.unknown())
  expect(refusal).toMatchObject({ code: 'LAUNCH_REFUSED' })
  expect(refusal.decision?.refused.map(({ code }) => code)).toContain('POLICY_ERROR')
})

test('what is unknown, disabled or over is refused with a code and a remedy', async () => {
  const { clientKey } = await newKey()
  const launches = `${api}/launches`
  const body = { workspaceId: 'terminal', clientKey }
  const refused = async (request: RawRequest, credentials = nora) =>
    refusalIn(await sendSigned(site, credentials, request))

  expect(
    await refused({ method: 'POST', path: launches, body: { ...body, workspaceId: 'nowhere' } }),
  ).toMatchObject({
    code: 'NOT_FOUND',
    remedy: expect.any(String),
  })
  expect(await refused({ method: 'GET', path: `${api}/sessions/${randomUUID()}` })).toMatchObject({
    code: 'NOT_FOUND',
  })
  expect(await refused({ method: 'GET', path: `${api}/nothing` })).toMatchObject({ code: 'NOT_FOUND' })
  for (const extra of [{ admin: true }, { rights: ['clipboard-out'] }, { __proto__x: 1 }])
    expect(await refused({ method: 'POST', path: launches, body: { ...body, ...extra } })).toMatchObject({
      code: 'BAD_REQUEST',
    })
  expect(await refused({ method: 'GET', path: `${api}/admin/people` })).toMatchObject({ code: 'NOT_ALLOWED' })
  // Each mode is asked of the policy whenever the workspace is looked at.
  const wish = {
    name: 'Many',
    description: '',
    icon: 'desktop',
    collections: [],
    program: { kind: 'desktop' },
  }
  const many = { ...wish, id: 'many', modes: Array.from({ length: 3000 }, () => 'hosted-blade') }
  const asAdmin = await refused(
    { method: 'PUT', path: `${api}/admin/workspaces/many`, body: many },
    ada.credentials,
  )
  expect(asAdmin).toMatchObject({ code: 'BAD_REQUEST', remedy: expect.any(String) })
  const large = await sendSigned(site, nora, {
    method: 'POST',
    path: launches,
    body: Buffer.alloc(3 * 1024 * 1024, 0x20),
  })
  expect(large.status).toBe(413)
  expect(refusalIn(large).code).toBe('BAD_REQUEST')

  const password = 'a-long-password-1'
  const person = await ada.send(
    'POST',
    '/admin/people',
    { login: 'dora', name: 'Dora', password, groups: ['employees'] },
    z.object({ id: z.uuid() }),
  )
  const dora = await signIn(site.address, 'dora', password)
  await ada.send('PATCH', `/admin/people/${person.id}`, { disabled: true }, z.unknown())
  expect(await refused({ method: 'POST', path: launches, body }, dora.credentials)).toMatchObject({
    code: 'NOT_SIGNED_IN',
  })
  await expect(signInFrom(site, 'dora', elsewhere, password)).rejects.toThrow(/SIGN_IN_REFUSED/)

  const old = await site.signIn('nora')
  await database.rows(`update web_sessions set expires_at = now() - interval '1 second' where id =
    (select id from web_sessions order by created_at desc limit 1)`)
  expect(await refused({ method: 'GET', path: `${api}/me` }, old.credentials)).toMatchObject({
    code: 'NOT_SIGNED_IN',
  })
})

test('a workspace beyond reach is told from a name that is none by no answer, and the log says that both were asked for', async () => {
  const { clientKey } = await newKey()
  const hidden = {
    name: 'Hidden',
    description: '',
    icon: 'desktop',
    collections: [],
    program: { kind: 'desktop' },
  }
  await ada.send(
    'PUT',
    '/admin/workspaces/hidden',
    // Permitted on managed devices alone.
    { ...hidden, id: 'hidden', modes: ['local-vm'], disk: { image: 'nothing', channel: 'production' } },
    z.unknown(),
  )
  const ways: Readonly<Record<string, (workspaceId: string) => RawRequest>> = {
    launch: (workspaceId) => ({ method: 'POST', path: `${api}/launches`, body: { workspaceId, clientKey } }),
    explain: (workspaceId) => ({ method: 'GET', path: `${api}/explain?workspace=${workspaceId}` }),
    handoff: (workspaceId) => ({ method: 'POST', path: `${api}/handoffs`, body: { workspaceId } }),
  }
  for (const [what, request] of Object.entries(ways)) {
    const [there, nowhere] = [
      await sendSigned(site, nora, request('hidden')),
      await sendSigned(site, nora, request('nothing-there')),
    ]
    expect(refusalIn(there), what).toMatchObject({ code: 'NOT_FOUND' })
    expect([there.status, refusalIn(there)], what).toEqual([nowhere.status, refusalIn(nowhere)])
  }
  const asked = await database.rows(
    `select workspace_id from decisions where workspace_id in ('hidden', 'nothing-there')`,
  )
  expect(asked.map((row) => String(row['workspace_id'])).toSorted()).toEqual(['hidden', 'nothing-there'])
  const told = await sendSigned(
    site,
    ada.credentials,
    ways['launch']?.('hidden') ?? { method: 'GET', path: api },
  )
  expect(refusalIn(told)).toMatchObject({ code: 'LAUNCH_REFUSED' })
})

test('a page that asks by itself keeps nobody signed in; a person who uses it does', async () => {
  const { credentials } = await site.signIn('nora')
  const newest = '(select id from web_sessions order by created_at desc limit 1)'
  await database.rows(`update web_sessions set last_seen_at = now() - interval '20 minutes',
    expires_at = now() + interval '10 minutes' where id = ${newest}`)
  const isLong = async () =>
    (
      await database.rows(
        `select expires_at > now() + interval '20 minutes' as long from web_sessions where id = ${newest}`,
      )
    )[0]?.['long']
  const ask = (headers: Readonly<Record<string, string>>) =>
    sendSigned(site, credentials, { method: 'GET', path: `${api}/me`, headers })
  expect((await ask({ [unattendedHeader]: '1' })).status).toBe(200)
  expect(await isLong()).toBe(false)
  // Right after it, too.
  expect((await ask({})).status).toBe(200)
  expect(await isLong()).toBe(true)
})

test('a cookie opens nothing without a proof that is new, for this request and by the key that signed in', async () => {
  const path = `${api}/workspaces`
  const { cookie, keyPair } = nora
  const proofBy = (change: Partial<Parameters<typeof makeProof>[0]> = {}): Promise<string> =>
    makeProof({
      method: 'GET',
      path,
      body: new Uint8Array(),
      keyPair,
      nowMs: Date.now(),
      random: randomBytes(16),
      ...change,
    })
  const ask = (proof: string | undefined): Promise<RawAnswer> =>
    send(site, {
      method: 'GET',
      path,
      headers: { cookie, ...(proof !== undefined && { [proofHeader]: proof }) },
    })

  const once = await proofBy()
  expect((await ask(once)).status).toBe(200)
  const other = await createLoginKey()
  const parts = (await proofBy()).split('.')
  const none = { alg: 'none', typ: 'trustcast-proof+jwt' }
  const bad = {
    missing: undefined,
    empty: '',
    replayed: once,
    'of another key': await proofBy({ keyPair: other }),
    'for another method': await proofBy({ method: 'POST' }),
    'for another path': await proofBy({ path: `${path}?x` }),
    'for another body': await proofBy({ body: Buffer.from('{}') }),
    'too old': await proofBy({ nowMs: Date.now() - 120_000 }),
    'of the future': await proofBy({ nowMs: Date.now() + 120_000 }),
    'without a signature': `${parts[0]}.${parts[1]}.`,
    'of no algorithm': `${Buffer.from(JSON.stringify(none)).toString('base64url')}.${parts[1]}.`,
    'too long': 'x'.repeat(8000),
  }
  for (const [what, proof] of Object.entries(bad))
    expect(refusalIn(await ask(proof)), what).toMatchObject({
      code: 'PROOF_REFUSED',
      remedy: expect.any(String),
    })
  const foreign = await send(site, {
    method: 'GET',
    path,
    headers: { cookie: `__Host-trustcast=${'A'.repeat(43)}`, [proofHeader]: await proofBy() },
  })
  expect(refusalIn(foreign).code).toBe('NOT_SIGNED_IN')
  const two = await send(site, {
    method: 'GET',
    path,
    headers: { cookie: `${cookie}; __Host-trustcast=${'A'.repeat(43)}`, [proofHeader]: await proofBy() },
  })
  expect(refusalIn(two).code).toBe('NOT_SIGNED_IN')
})

test('no page of another origin changes anything', async () => {
  const { clientKey } = await newKey()
  const body = { workspaceId: 'terminal', clientKey }
  for (const headers of [
    { origin: 'https://evil.example' },
    { origin: `https://localhost:${site.port + 1}` },
    { origin: `http://localhost:${site.port}` },
    { origin: 'null' },
    { 'sec-fetch-site': 'cross-site' },
  ]) {
    const answer = await sendSigned(site, nora, { method: 'POST', path: `${api}/launches`, body, headers })
    expect(refusalIn(answer).code, JSON.stringify(headers)).toBe('ORIGIN_REFUSED')
  }
})

interface Operation {
  readonly method: string
  readonly path: string
  /** Names of the fields of its body, as far as they are said. */
  readonly fields: readonly string[]
}

/** Who may do what without being asked who they are; each can be refused for other reasons. */
const forEverybody = /^(GET \/(site|authorities|openapi\.json)|POST \/endpoints\/\{id\}\/challenge)$/
const forNora =
  /^(GET \/(me|workspaces|explain|sessions|events)|DELETE \/web-sessions\/current|POST \/(launches|handoffs))$/

test('whatever is sent to any route, strangers and people get a coded refusal where they have no business', async () => {
  const operations = await allOperations()
  expect(operations.length).toBeGreaterThan(25)
  const expendable = await site.signIn('nora')
  const [pid = 0] = await site.pidsOf('site')
  const before = await memoryOf(pid)
  for (const operation of operations) {
    const name = `${operation.method} ${operation.path.slice(api.length)}`
    const request = requestFor(operation)
    await fc.assert(
      fc.asyncProperty(request, async (junk) => {
        const stranger = await send(site, { ...junk, from: elsewhere })
        expectHarmless(name, stranger, forEverybody.test(name))
        const asNora = name === 'DELETE /web-sessions/current' ? expendable.credentials : nora
        const known = await sendSigned(site, asNora, { ...junk, from: elsewhere })
        expectHarmless(name, known, forEverybody.test(name) || forNora.test(name))
      }),
      { numRuns: 12 },
    )
  }
  // Twelve times two megabytes and more were sent to each; none of it was kept.
  expect((await memoryOf(pid)) - before).toBeLessThan(300)
  expect(await site.pidsOf('site')).toContain(pid)
}, 180_000)

/** A body of any kind for a route, with what stands in its path made up. */
function requestFor({ method, path, fields }: Operation): fc.Arbitrary<RawRequest> {
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.constantFrom('terminal', 'nora', 'admins', randomUUID(), 'A'.repeat(43), '', '\0', -1, 1e308),
  )
  const shaped = fc
    .dictionary(fc.constantFrom('x', ...fields), value)
    .map((body) => Buffer.from(JSON.stringify(body)))
  const body = fc.oneof(
    { weight: 6, arbitrary: shaped },
    { weight: 3, arbitrary: fc.json().map((text) => Buffer.from(text)) },
    { weight: 2, arbitrary: fc.uint8Array({ maxLength: 2000 }).map((bytes) => Buffer.from(bytes)) },
    { weight: 1, arbitrary: fc.constant(Buffer.from('['.repeat(100_000))) },
    { weight: 1, arbitrary: fc.constant(Buffer.alloc(2_000_000, 0x22)) },
  )
  const segment = fc.oneof(
    fc.constantFrom(randomUUID(), 'terminal', '..', '%2e%2e', '%00', '-1', "'", '%ff', 'x'.repeat(3000)),
    fc.string({ maxLength: 40 }).map((text) => encodeURIComponent(text.isWellFormed() ? text : '')),
  )
  const query = fc.oneof(
    fc.constant(''),
    fc.webQueryParameters().map((text) => `?${text}`),
    fc.constant('?limit=1e9&before=x&from=::1'),
  )
  return fc
    .record({ segment, query, body: method === 'GET' ? fc.constant(undefined) : body })
    .map((made) => ({
      method,
      path: `${path.replaceAll(/\{[^}]+\}|\*/g, made.segment)}${made.query}`,
      body: made.body,
    }))
}

function expectHarmless(name: string, answer: RawAnswer, mayPass: boolean): void {
  if (answer.status < 400) {
    expect(mayPass, `${name} answered ${answer.status} ${String(answer.body).slice(0, 200)}`).toBe(true)
    return
  }
  const { code } = refusalIn(answer)
  if (answer.status >= 500) expect(code, name).toMatch(/^(SITE_BUSY|IDENTITY_BUSY|LAUNCH_.*)$/)
}

/** Every route that the site says it has. */
async function allOperations(): Promise<readonly Operation[]> {
  const answer = await send(site, { method: 'GET', path: `${api}/openapi.json` })
  const { paths } = z
    .object({ paths: z.record(z.string(), z.record(z.string(), z.unknown())) })
    .parse(JSON.parse(String(answer.body)))
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      method: method.toUpperCase(),
      path,
      fields: [...new Set(JSON.stringify(operation).matchAll(/"([A-Za-z]{2,20})":\{/g))].map(
        ([, name = '']) => name,
      ),
    })),
  )
}

/** As an admin is told it, who may look at everything. */
async function refusalOfLaunch() {
  const { clientKey } = await newKey()
  const body = { workspaceId: 'terminal', clientKey }
  return refusalIn(await sendSigned(site, ada.credentials, { method: 'POST', path: `${api}/launches`, body }))
}

/** MiB that a process holds. */
async function memoryOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1024
}

function withRule(condition: string): string {
  return `@id("rule") permit (principal, action, resource) when { ${condition} };`
}
