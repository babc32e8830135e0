import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, createServer, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { createAuthority, createIdentityKey, issueLeaf, verifyRequest } from '#adapters/pki-x509/index.ts'
import { type AgentIdentity, enrolAgent } from '#apps/agent-client/index.ts'
import { startEndpointAgent } from '#apps/endpoint/endpoint-agent.ts'
import { reportPath } from '#apps/endpoint/report-path.ts'
import { tokenAnswer } from '#core/api/admin.ts'
import { type EndpointClaim, endpointClaimsAnswer } from '#core/api/evidence.ts'
import { endpointsAnswer } from '#core/api/lease.ts'
import { decodeEntry } from '#core/audit/index.ts'
import { claimNames, claimVocabulary, rankOf } from '#core/trust/index.ts'
import { toldObserver } from '../observed-endpoint.rig.ts'
import { dialAsEndpoint, enrolledIdentity, type RawEndpoint } from '../raw-endpoint.rig.ts'
import { type RunningSite, type SignedInClient, startSite, until } from '../running-site.rig.ts'
import { openDatabase, type SiteDatabase } from '../site-database.rig.ts'

/** I5: what an endpoint says of itself lowers trust or is ignored, and evidence that is not its own, fresh word is refused. */

let site: RunningSite
let database: SiteDatabase
let ada: SignedInClient
let undo: AsyncDisposableStack
/** Who was challenged at the very beginning, and takes its time. */
let slow: { readonly raw: RawEndpoint; readonly nonce: string; readonly since: number }

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  site = undo.use(await startSite({ args: ['--hosts', '1', '--gateways', '1'] }))
  database = undo.use(await openDatabase(site))
  ada = await site.signIn('ada')
  const raw = undo.use(await dialAsEndpoint(await enrolled('slow')))
  slow = { raw, nonce: (await raw.next('challenge')).nonce, since: performance.now() }
})
afterAll(() => undo.disposeAsync())

test('evidence that is forged, altered, for others or of others is refused, each with its own code', async () => {
  const [mine, theirs] = [await enrolled('mine'), await enrolled('theirs')]
  using raw = await dialAsEndpoint(mine)
  const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  const theirKey = createPrivateKey(theirs.privateKeyPem)
  const wrong: readonly (readonly [string, (nonce: string) => string])[] = [
    ['EVIDENCE_MALFORMED', () => 'a.b.c'],
    ['EVIDENCE_MALFORMED', () => ''],
    ['EVIDENCE_FORGED', (nonce) => raw.statement(nonce, {}, stranger)],
    ['EVIDENCE_FORGED', (nonce) => raw.statement(nonce, {}, theirKey)],
    ['EVIDENCE_FORGED', (nonce) => altered(raw.statement(nonce))],
    ['EVIDENCE_OTHER_ENDPOINT', (nonce) => raw.statement(nonce, { endpoint: theirs.id }, theirKey)],
    ['EVIDENCE_OTHER_ENDPOINT', (nonce) => raw.statement(nonce, { endpoint: theirs.id })],
    ['EVIDENCE_OTHER_SITE', (nonce) => raw.statement(nonce, { site: 'another' })],
    ['EVIDENCE_REPLAYED', () => raw.statement('A'.repeat(43))],
    ['EVIDENCE_FORKED', (nonce) => raw.statement(nonce, { previous: `7.${'A'.repeat(43)}` })],
  ]
  for (const [code, make] of wrong) {
    const { nonce } = await raw.next('challenge')
    expect(await raw.tell(make(nonce)), code).toBe(code)
  }
  expect(await claimsOf(mine.id)).toMatchObject({ 'endpoint.reporting': { value: 'silent' } })
  const log = (await entries()).filter(
    ({ kind, actor }) => kind === 'evidence-refused' && actor.id === mine.id,
  )
  expect(log.length).toBeGreaterThan(0)
})

test('what was accepted once is not accepted twice, and not on another connection', async () => {
  const mine = await enrolled('twice')
  using first = await dialAsEndpoint(mine)
  using second = await dialAsEndpoint(mine)
  const statement = first.statement((await first.next('challenge')).nonce)
  await second.next('challenge')
  expect(await second.tell(statement)).toBe('EVIDENCE_REPLAYED')
  expect(await first.tell(statement)).toBeUndefined()
  await first.next('challenge')
  expect(await first.tell(statement)).toBe('EVIDENCE_REPLAYED')
})

test('an endpoint that comes back with what it said before is not told that it is silent', async () => {
  const mine = await enrolled('back')
  {
    using first = await dialAsEndpoint(mine)
    expect(await first.tell(first.statement((await first.next('challenge')).nonce))).toBeUndefined()
    await first.next('challenge')
  }
  // As when the site was away for some minutes.
  await database.rows(
    `update endpoint_evidence set last_at = now() - interval '5 minutes' where endpoint_id = $1`,
    [mine.id],
  )
  using raw = await dialAsEndpoint(mine)
  const challenge = await raw.next('challenge')
  raw.say({ kind: 'evidence', statement: raw.statement(challenge.nonce, { sequence: 2 }) })
  const { claims, refused } = await raw.next('verdict')
  expect(refused).toBeUndefined()
  expect(claims.find(({ name }) => name === 'endpoint.reporting')?.value).toBe('current')
})

test('an endpoint that was told more than the database holds shows that it was put back, which the log tells once', async () => {
  const mine = await enrolled('ahead')
  let sequence = 0
  let previous: string | undefined
  const report = async (times: number): Promise<void> => {
    using raw = await dialAsEndpoint(mine)
    let challenge = await raw.next('challenge')
    for (let time = 0; time < times; time++) {
      const said = { sequence: (sequence += 1), ...(previous === undefined ? {} : { previous }) }
      raw.say({ kind: 'evidence', statement: raw.statement(challenge.nonce, said) })
      challenge = await raw.next('challenge')
      ;({ previous } = challenge)
    }
  }
  const stored = async (): Promise<number> => {
    const rows = await database.rows('select sequence from endpoint_evidence where endpoint_id = $1', [
      mine.id,
    ])
    return Number(rows[0]?.['sequence'])
  }
  const isGone = async () =>
    (
      await database.rows(
        `select from agents where id = $1 and last_seen_at < now() - interval '2 minutes'`,
        [mine.id],
      )
    ).length === 1
  await report(6)
  await until(async () => (await stored()) === 6, 'it is written')
  await until(isGone, 'its connection is over')
  expect(await alarmsOfPutBack()).toEqual([])
  for (const _ of ['restored', 'once more']) {
    await database.rows('update endpoint_evidence set sequence = 1, basis = 0 where endpoint_id = $1', [
      mine.id,
    ])
    await report(1)
    await until(async () => (await stored()) === sequence, 'it is taken all the same')
    await until(isGone, 'its connection is over')
    await database.rows(`update alarms set ended_at = now(), ended_by = 'ada' where key = 'put-back'`)
    expect(await alarmsOfPutBack()).toHaveLength(1)
  }
})

test('evidence that was written while the database went away is not taken for that of another machine', async () => {
  const mine = await enrolled('patient')
  using raw = await dialAsEndpoint(mine)
  await database.rows(
    `create function be_away() returns trigger language plpgsql as $$ begin raise 'away' using errcode = '57P01'; end $$`,
  )
  // After the evidence is there, what hangs on it cannot be told to be decided.
  await database.rows(
    'create trigger be_away before insert on redecisions for each statement execute function be_away()',
  )
  const { nonce } = await raw.next('challenge')
  const off = { claim: 'endpoint.antivirus', value: 'off', collector: 'test', detail: '' } as const
  const told = raw.tell(raw.statement(nonce, { observations: [off] }))
  const wasWritten = async (): Promise<boolean> =>
    (await database.rows(`select from endpoint_evidence where endpoint_id = $1 and sequence = 1`, [mine.id]))
      .length === 1
  await until(wasWritten, 'it is written')
  // For some more tries.
  await sleep(1_500)
  await database.rows('drop trigger be_away on redecisions')
  await database.rows('drop function be_away')
  expect(await told).toBeUndefined()
  expect(await claimsOf(mine.id)).toMatchObject({
    'endpoint.reporting': { value: 'current' },
    'endpoint.antivirus': { value: 'off' },
  })
  const { nonce: next, previous = '' } = await raw.next('challenge')
  expect(await raw.tell(raw.statement(next, { sequence: 2, previous }))).toBeUndefined()
})

test('evidence that was taken is not taken again when the database goes away before the answer', async () => {
  const mine = await enrolled('answered-late')
  using first = await dialAsEndpoint(mine)
  const { nonce } = await first.next('challenge')
  expect(await first.tell(first.statement(nonce))).toBeUndefined()
  const { previous = '' } = await first.next('challenge')
  await first.leave()
  // What is said again is accepted without them; what it is worth cannot be read for the answer. A table that is not there at all, be it for
  // a moment, would be a fault.
  await database.rows('begin')
  await database.rows('alter table endpoint_statements rename to hidden_statements')
  await database.rows(
    `create function be_away() returns setof hidden_statements language plpgsql as $$ begin raise 'away' using errcode = '57P01'; end $$`,
  )
  await database.rows('create view endpoint_statements as select * from be_away()')
  await database.rows('commit')
  using second = await dialAsEndpoint(mine)
  const { nonce: again } = await second.next('challenge')
  const told = second.tell(second.statement(again, { sequence: 2, previous }))
  const wasWritten = async (): Promise<boolean> =>
    (await database.rows('select from endpoint_evidence where endpoint_id = $1 and sequence = 2', [mine.id]))
      .length === 1
  await until(wasWritten, 'it is written')
  // Meanwhile something else changes what is known of it, and the node looks anew.
  await database.rows('update endpoint_evidence set silent = true where endpoint_id = $1', [mine.id])
  await database.rows(`select pg_notify('trustcast', $1)`, [
    JSON.stringify({ topic: 'endpoint', id: mine.id }),
  ])
  await sleep(1_500)
  await database.rows('begin')
  await database.rows('drop view endpoint_statements')
  await database.rows('drop function be_away')
  await database.rows('alter table hidden_statements rename to endpoint_statements')
  await database.rows('commit')
  expect(await told).toBeUndefined()
  const { nonce: next, previous: later = '' } = await second.next('challenge')
  const off = { claim: 'endpoint.antivirus', value: 'off', collector: 'test', detail: '' } as const
  const news = { sequence: 3, previous: later, observations: [off] }
  expect(await second.tell(second.statement(next, news))).toBeUndefined()
  expect(await claimsOf(mine.id)).toMatchObject({ 'endpoint.antivirus': { value: 'off' } })
})

test('what is refused while the database is away is refused for the same reason once it is back', async () => {
  const mine = await enrolled('refused-late')
  using raw = await dialAsEndpoint(mine)
  const { nonce } = await raw.next('challenge')
  await database.rows(
    `create function be_away() returns trigger language plpgsql as $$ begin raise 'away' using errcode = '57P01'; end $$`,
  )
  await database.rows(
    'create trigger be_away before insert on audit_entries for each statement execute function be_away()',
  )
  const told = raw.tell(raw.statement(nonce, { sequence: 2, previous: `1.${'A'.repeat(43)}` }))
  await sleep(1_500)
  await database.rows('drop trigger be_away on audit_entries')
  await database.rows('drop function be_away')
  expect(await told).toBe('EVIDENCE_FORKED')
  const log = (await entries()).filter(
    ({ kind, actor }) => kind === 'evidence-refused' && actor.id === mine.id,
  )
  expect(log.map(({ data }) => data)).toMatchObject([{ code: 'EVIDENCE_FORKED' }])
  const { nonce: next } = await raw.next('challenge')
  expect(await raw.tell(raw.statement(next))).toBe('EVIDENCE_FORKED')
})

test('evidence that was sent over another connection says that somebody sits between', async () => {
  const mine = await enrolled('between')
  using raw = await dialAsEndpoint(mine)
  const { nonce } = await raw.next('challenge')
  expect(await raw.tell(raw.statement(nonce, { exporter: 'B'.repeat(43) }))).toBeUndefined()
  expect(await claimsOf(mine.id)).toMatchObject({
    'network.interception': { value: 'detected', source: 'server' },
  })
  const log = (await entries()).filter(
    ({ kind, actor }) => kind === 'evidence-refused' && actor.id === mine.id,
  )
  expect(log.map(({ data }) => data)).toMatchObject([{ code: 'EVIDENCE_OTHER_CONNECTION' }])
})

test('a clock that was set back is seen by the site', async () => {
  const mine = await enrolled('yesterday')
  using raw = await dialAsEndpoint(mine)
  const { nonce } = await raw.next('challenge')
  expect(await raw.tell(raw.statement(nonce, { at: Date.now() - 86_400_000 }))).toBeUndefined()
  expect(await claimsOf(mine.id)).toMatchObject({ 'endpoint.clock': { value: 'wrong', source: 'server' } })
})

test('no virtue that an endpoint reports of itself makes any claim better', async () => {
  const mine = await enrolled('vain')
  using raw = await dialAsEndpoint(mine)
  const challenge = await raw.next('challenge')
  expect(await raw.tell(raw.statement(challenge.nonce))).toBeUndefined()
  const before = await claimsOf(mine.id)
  const virtues = claimNames.map((claim) => ({
    claim,
    value: claimVocabulary[claim].values.at(-1) ?? '',
    collector: 'vanity',
    detail: 'the best there is',
  }))
  const { nonce, previous } = await raw.next('challenge')
  raw.say({
    kind: 'evidence',
    statement: raw.statement(nonce, {
      sequence: 2,
      ...(previous === undefined ? {} : { previous }),
      observations: virtues,
    }),
  })
  await raw.next('challenge')
  const after = await claimsOf(mine.id)
  for (const name of claimNames) {
    const [was, is] = [before[name], after[name]]
    if (was === undefined || is === undefined) continue
    expect(rankOf(name, is.value), name).toBeLessThanOrEqual(rankOf(name, was.value))
    expect(is.source === 'attested' || is.source === 'corroborated', name).toBe(false)
  }
  expect(after['endpoint.antivirus']).toMatchObject({ value: 'unknown', selfReported: 'on' })
})

test('a fault does not pass because its collector fails afterwards; that it failed is shown', async () => {
  const mine = await enrolled('broken')
  using raw = await dialAsEndpoint(mine)
  const say = async (sequence: number, value: string, detail: string): Promise<void> => {
    const { nonce, previous } = await raw.next('challenge')
    const observation = { claim: 'endpoint.antivirus', value, collector: 'clamd', detail } as const
    const after = { sequence, ...(previous === undefined ? {} : { previous }) }
    raw.say({
      kind: 'evidence',
      statement: raw.statement(nonce, { ...after, observations: [observation] }),
    })
  }
  await say(1, 'off', 'clamd does not answer')
  for (const [sequence, code] of [
    [2, 'COLLECTOR_TIMED_OUT'],
    [3, 'COLLECTOR_CRASHED'],
    [4, 'COLLECTOR_CRASHED'],
  ] as const) {
    await say(sequence, 'unknown', `${code}: why`)
    await until(
      async () => (await claimsOf(mine.id))['endpoint.antivirus']?.detail?.includes(code) === true,
      'it was taken',
    )
    expect((await claimsOf(mine.id))['endpoint.antivirus']).toMatchObject({ value: 'off', source: 'self' })
  }
  await say(5, 'on', 'it answers')
  await until(async () => (await claimsOf(mine.id))['endpoint.antivirus']?.value === 'unknown', 'it looked')
})

test('a process that did not say it reports cannot report', async () => {
  using raw = await dialAsEndpoint(await enrolled('launch'), false)
  raw.say({ kind: 'evidence', statement: raw.statement('A'.repeat(43)) })
  expect(await raw.closed).toBe(1008)
})

test('a copied machine is found as soon as both speak; neither is trusted until an admin says so', async () => {
  const dir = await folder()
  await enrol('original', dir)
  const observer = toldObserver()
  await using original = await agentIn(dir, observer)
  await until(
    async () => (await claimsOf(original.id))['endpoint.reporting']?.value === 'current',
    'it reports',
  )
  const copied = await folder()
  await cp(dir, copied, { recursive: true })
  // The original goes on before the copy speaks.
  observer.see('endpoint.edr', 'off')
  await until(async () => (await claimsOf(original.id))['endpoint.edr']?.value === 'off', 'it went on')
  await using copy = await agentIn(copied, toldObserver())
  await until(() => copy.reporter?.verdict?.refused?.code === 'EVIDENCE_FORKED', 'the copy is found')
  expect(await claimsOf(original.id)).toMatchObject({
    'endpoint.reporting': { value: 'silent' },
    'endpoint.deviceKey': { value: 'none', source: 'server' },
  })
  observer.see('endpoint.edr', 'on')
  await until(() => original.reporter?.verdict?.refused?.code === 'EVIDENCE_FORKED', 'the original is told')
  expect(await endpointOf(original.id)).toMatchObject({ forked: true })

  await copy[Symbol.asyncDispose]()
  await ada.send('DELETE', `/endpoints/${original.id}/fork`, undefined, z.unknown())
  observer.see('endpoint.edr', 'off')
  await until(
    async () => (await claimsOf(original.id))['endpoint.reporting']?.value === 'current',
    'it is back',
  )
  expect(await endpointOf(original.id)).toMatchObject({ forked: false })
})

test('a machine that was put back to an older state is found', async () => {
  const dir = await folder()
  await enrol('restored', dir)
  const observer = toldObserver()
  const snapshot = await (async () => {
    await using agent = await agentIn(dir, observer)
    await until(
      async () => (await claimsOf(agent.id))['endpoint.reporting']?.value === 'current',
      'it reports',
    )
    const kept = await readFile(join(dir, 'evidence.json'))
    observer.see('endpoint.edr', 'off')
    await until(async () => (await claimsOf(agent.id))['endpoint.edr']?.value === 'off', 'it went on')
    observer.see('endpoint.edr', 'on')
    await until(async () => (await claimsOf(agent.id))['endpoint.edr']?.value === 'unknown', 'and on')
    return kept
  })()
  await writeFile(join(dir, 'evidence.json'), snapshot)
  await using again = await agentIn(dir, toldObserver())
  await until(() => again.reporter?.verdict?.refused?.code === 'EVIDENCE_FORKED', 'it is found')
})

test('a proxy that ends TLS is found, also one whose authority the endpoint trusts', async () => {
  const mine = await enrolled('proxied')
  await using proxy = await interceptingProxy(site.port)
  expect(await reportPath(mine, [])).toBe('none')
  const behind = { ...mine, siteUrl: `https://localhost:${proxy.port}` }
  await expect(reportPath(behind, [])).rejects.toMatchObject({ code: 'AGENT_SITE_AWAY' })
  expect(await reportPath(behind, [proxy.authority])).toBe('detected')
  expect(await claimsOf(mine.id)).toMatchObject({
    'network.interception': { value: 'detected', source: 'server' },
    // What is said there makes no endpoint count as reporting.
    'endpoint.reporting': { value: 'silent' },
  })
})

test('evidence that took its time is stale', async () => {
  await sleep(Math.max(0, 121_000 - (performance.now() - slow.since)))
  expect(await slow.raw.tell(slow.raw.statement(slow.nonce))).toBe('EVIDENCE_STALE')
}, 180_000)

test('who was cut off is noticed: what hangs on them is decided without their word', async () => {
  await until(isSilenceNoticed, 'silence is noticed', 160_000)
}, 180_000)

/** Of those that reported and have been away since; the site looks by itself. */
async function isSilenceNoticed(): Promise<boolean> {
  return (await entries()).some(
    ({ kind, actor, data }) =>
      kind === 'trust-changed' && actor.type === 'system' && JSON.stringify(data).includes('"to":"silent"'),
  )
}

/** One letter of the payload is another. */
function altered(statement: string): string {
  const [header = '', payload = '', signature = ''] = statement.split('.')
  const text = Buffer.from(payload, 'base64url').toString().replace('"sequence":1', '"sequence":2')
  return [header, Buffer.from(text).toString('base64url'), signature].join('.')
}

async function folder(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'tc-evidence-'))
  undo.defer(() => rm(dir, { recursive: true, force: true }))
  return dir
}

async function enrol(name: string, dir: string): Promise<void> {
  const { token } = await ada.send('POST', '/admin/enrolment-tokens', { kind: 'endpoint', name }, tokenAnswer)
  await enrolAgent({ url: site.url, token, dir, kind: 'endpoint' })
}

async function enrolled(name: string): Promise<AgentIdentity> {
  return enrolledIdentity(site, ada, name)
}

function agentIn(dir: string, observer: ReturnType<typeof toldObserver>) {
  const log = { info: () => undefined, warn: () => undefined }
  return startEndpointAgent({ dir, version: 'test', log, report: { observers: [observer] } })
}

async function claimsOf(id: string): Promise<Readonly<Record<string, EndpointClaim>>> {
  const { claims } = await ada.get(`/endpoints/${id}/claims`, endpointClaimsAnswer)
  return Object.fromEntries(claims.map((claim) => [claim.name, claim]))
}

async function endpointOf(id: string) {
  const { endpoints } = await ada.get('/endpoints', endpointsAnswer)
  return endpoints.find((one) => one.id === id)
}

async function alarmsOfPutBack() {
  return (await entries()).filter(
    ({ kind, data }) => kind === 'alarm-raised' && JSON.stringify(data).includes('put-back'),
  )
}

async function entries() {
  const rows = await database.rows('select entry from audit_entries order by index')
  return rows.map(({ entry }) => decodeEntry(entry as Buffer))
}

/** Ends TLS for a name with an authority of its own, and passes on what it reads to the site. */
async function interceptingProxy(port: number) {
  const dir = await folder()
  const authority = await createAuthority({ dir: join(dir, 'pki'), siteName: 'proxy', now: Date.now() })
  const { requestPem, privateKeyPem } = await createIdentityKey()
  const { chainPem } = await issueLeaf(authority, {
    publicKey: verifyRequest(requestPem),
    role: 'site',
    id: 'node',
    dnsNames: ['localhost'],
    ipAddresses: ['127.0.0.1'],
    usages: 'server',
    lifetimeMs: 3_600_000,
    now: Date.now(),
  })
  const open = new Set<TLSSocket>()
  const server = createServer({ cert: chainPem, key: privateKeyPem, minVersion: 'TLSv1.3' }, (client) => {
    const up = connect({ host: 'localhost', port, servername: 'localhost', ca: site.address.ca })
    for (const socket of [client, up]) {
      open.add(socket)
      socket.on('error', () => socket.destroy())
    }
    client.pipe(up).pipe(client)
  })
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve))
  const address = server.address()
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    authority: authority.rootPem,
    [Symbol.asyncDispose]: async () => {
      for (const socket of open) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
