import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import { z } from 'zod'
import { readEndpointCredentials } from '#apps/endpoint/endpoint-agent.ts'
import { reportOfMachine } from '#apps/endpoint/report-sources.ts'
import { callJson } from '#apps/site-client/call.ts'
import { endpointToSite } from '#core/agent/endpoint-messages.ts'
import { alarmsAnswer, type EndpointClaim, endpointClaimsAnswer } from '#core/api/evidence.ts'
import { endpointsAnswer } from '#core/api/lease.ts'
import { sessionView, workspaceView } from '#core/api/person.ts'
import { bytes32, uuid } from '#core/api/words.ts'
import { decodeEntry } from '#core/audit/index.ts'
import { readCompactJws } from '#core/identity/compact-jws.ts'
import { claimNames, claimVocabulary } from '#core/trust/index.ts'
import { games } from './as-account.rig.ts'
import { account } from './endpoint-service.rig.ts'
import { type EnrolledEndpoint, enrolEndpoint, leaseInUse } from './enrolled-endpoint.rig.ts'
import { type ToldObserver, toldObserver } from './observed-endpoint.rig.ts'
import { diskWorkspace, publishForTest } from './published-release.rig.ts'
import { type RunningSite, type SignedInClient, startSite, until } from './running-site.rig.ts'
import { openDatabase, type SiteDatabase } from './site-database.rig.ts'

let site: RunningSite
let database: SiteDatabase
let ada: SignedInClient
let laptop: EnrolledEndpoint
let seen: ToldObserver
let undo: AsyncDisposableStack

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  site = undo.use(await startSite({ args: ['--hosts', '1', '--gateways', '1'] }))
  database = undo.use(await openDatabase(site))
  ada = await site.signIn('ada')
  await publishForTest(ada, 'office')
  const lab = diskWorkspace('office')
  await ada.send('PUT', `/admin/workspaces/${lab.id}`, lab, z.unknown())
  seen = toldObserver()
  laptop = undo.use(await enrolEndpoint(site, ada, 'laptop-1', { report: { observers: [seen] } }))
})
afterAll(() => undo.disposeAsync())

test('an endpoint that reports is known, each claim with its source and what it is worth', async () => {
  await untilClaim('endpoint.reporting', 'current')
  const nora = await site.signIn('nora')
  const answer = await callJson(
    site.address,
    { method: 'GET', path: '/api/v1/endpoint/claims' },
    endpointClaimsAnswer,
    { ...nora.credentials, endpoint: await readEndpointCredentials(laptop.dir) },
  )
  const claims = new Map(answer.claims.map((claim) => [claim.name, claim]))
  expect(claims.get('endpoint.reporting')).toMatchObject({ value: 'current', source: 'server' })
  expect(claims.get('endpoint.deviceKey')).toMatchObject({ value: 'file', source: 'server' })
  expect(claims.get('network.interception')).toMatchObject({ value: 'none', source: 'server' })
  expect(claims.get('endpoint.clock')).toMatchObject({ value: 'right', source: 'server' })
  // Its own good word is known and raises nothing.
  expect(claims.get('endpoint.antivirus')).toMatchObject({ value: 'unknown', selfReported: 'on' })
})

/** Stands wherever somebody who looks around on a machine could see something that is a person's own. */
const ownWord = 'MyDivorce'

test('nothing of a person is in what a device sends, and nothing that is not documented', async () => {
  await using _person = await atWork()
  const sent = vi.spyOn(WebSocket.prototype, 'send')
  await using leaving = new AsyncDisposableStack()
  leaving.defer(() => sent.mockRestore())
  const log = { info: vi.fn(), warn: vi.fn() }
  // The real collectors, reporting as the service does.
  const report = leaving.use(await reportOfMachine({ dir: laptop.dir, log }))
  const real = leaving.use(await enrolEndpoint(site, ada, 'laptop-real', { report }))
  const debuggerSeen = async () => (await claimOf('endpoint.debugger', real))?.value === 'attached'
  await until(debuggerSeen, 'somebody looks over its shoulder', 60_000)

  const texts = sent.mock.calls.map(([data]) => (typeof data === 'string' ? data : ''))
  const frames = texts.map((text) => endpointToSite.parse(JSON.parse(text)))
  const statements = frames.flatMap((frame) => (frame.kind === 'evidence' ? [frame] : []))
  const said = statements.map(({ statement }) =>
    documented.parse(readCompactJws(statement, 'ES256', 1e6).payload()),
  )
  const own = said.filter(({ endpoint }) => endpoint === real.agent.id)
  const observations = own.flatMap((one) => one.observations)
  expect(observations).toContainEqual(
    expect.objectContaining({ claim: 'endpoint.debugger', value: 'attached' }),
  )
  const docs = await readFile(join(import.meta.dirname, '../docs/posture.md'), 'utf8')
  for (const { claim, value, collector } of observations) {
    expect(claimVocabulary[claim].values).toContain(value)
    if (claim === 'network.integrity') continue
    const [, name = ''] = claim.split('.')
    const isInTable = (line: string) => line.includes(`\`${name}\``) && line.includes(`\`${collector}\``)
    expect(docs.split('\n').filter(isInTable), `${claim} of ${collector}`).toHaveLength(1)
  }
  const stored = await database.rows('select * from endpoint_evidence where endpoint_id = $1', [
    real.agent.id,
  ])
  const everything = JSON.stringify([frames, said, stored])
  expect(everything.toLowerCase()).not.toContain(ownWord.toLowerCase())
  expect(everything).not.toContain(account)
}, 120_000)

test('a fault on the endpoint takes the disk from it; the workspace opens hosted at once, and the way back is shown', async () => {
  const nora = await site.signIn('nora')
  const made = await laptop.launch(nora, 'lab')
  const { end } = await leaseInUse(laptop, made)
  seen.see('endpoint.antivirus', 'off')
  expect(await end).toMatchObject({
    code: 'LEASE_WITHDRAWN',
    notice: { code: 'TRUST_LOST', stepDown: 'hosted-shared', remedy: expect.stringContaining('antivirus') },
  })
  const down = await laptop.launch(nora, 'lab')
  expect(down.delivery).toMatchObject({ kind: 'hosted', session: { mode: 'hosted-shared' } })
  expect((await workspaceOf(nora, 'lab')).better).toBeUndefined()

  seen.see('endpoint.antivirus', 'on')
  await until(
    async () => (await workspaceOf(nora, 'lab')).better?.mode === 'streamed-disk',
    'the better mode is offered',
  )
  const up = await laptop.launch(nora, 'lab', { switch: true })
  expect(up.delivery.kind).toBe('streamed-disk')
  await nora.send('DELETE', `/sessions/${up.delivery.session.id}`, undefined, z.unknown())
})

test('who asks to switch and would be given the same again keeps what runs', async () => {
  seen.see('endpoint.antivirus', 'off')
  await untilClaim('endpoint.antivirus', 'off')
  const nora = await site.signIn('nora')
  const first = await laptop.launch(nora, 'lab')
  const again = await laptop.launch(nora, 'lab', { switch: true })
  expect(again.delivery.session.id).toBe(first.delivery.session.id)
  seen.see('endpoint.antivirus', 'on')
  await until(
    async () => (await claimOf('endpoint.antivirus'))?.value !== 'off',
    'it is known to be on again',
  )
  await nora.send('DELETE', `/sessions/${first.delivery.session.id}`, undefined, z.unknown())
})

test('a hosted session goes on when the device that it was opened from falls: what hangs on the claim changes in place', async () => {
  await using _policy = await forbidCopyingOut('when { context.endpoint.antivirus.value == "off" }')
  const hosted = diskWorkspace('office', { id: 'hosted', modes: ['hosted-shared'] })
  await ada.send('PUT', '/admin/workspaces/hosted', hosted, z.unknown())
  const nora = await site.signIn('nora')
  const { delivery } = await laptop.launch(nora, 'hosted')
  const { id, rights } = delivery.session
  expect(rights).toContain('clipboard-out')
  const sessionNow = async () => nora.get(`/sessions/${id}`, sessionView)

  seen.see('endpoint.antivirus', 'off')
  await until(async () => !(await sessionNow()).rights.includes('clipboard-out'), 'nothing is copied out')
  const changed = await sessionNow()
  expect(changed).toMatchObject({ state: delivery.session.state, mode: 'hosted-shared' })
  expect(changed.rights).toEqual(rights.filter((right) => right !== 'clipboard-out'))
  expect(changed.restrictions).toMatchObject([{ right: 'clipboard-out' }])

  seen.see('endpoint.antivirus', 'on')
  await until(async () => (await sessionNow()).rights.includes('clipboard-out'), 'it may be copied again')
  expect((await sessionNow()).state).toBe(delivery.session.state)
  await nora.send('DELETE', `/sessions/${id}`, undefined, z.unknown())
})

test('a hosted session that was opened from a device that is revoked goes on as from any device', async () => {
  await using other = await enrolEndpoint(site, ada, 'laptop-2', { report: { observers: [toldObserver()] } })
  await untilClaim('endpoint.reporting', 'current', other)
  await using _policy = await forbidCopyingOut('unless { context.endpoint.reporting.value == "current" }')
  const nora = await site.signIn('nora')
  const { delivery } = await other.launch(nora, 'hosted')
  const { id, rights, state } = delivery.session
  expect(rights).toContain('clipboard-out')
  await ada.send('POST', `/admin/agents/${other.agent.id}/revoke`, undefined, z.unknown())
  const sessionNow = async () => nora.get(`/sessions/${id}`, sessionView)
  await until(async () => !(await sessionNow()).rights.includes('clipboard-out'), 'nothing is copied out')
  expect(await sessionNow()).toMatchObject({ state, mode: 'hosted-shared' })
  await expect(other.launch(nora, 'hosted')).rejects.toThrow()
  await nora.send('DELETE', `/sessions/${id}`, undefined, z.unknown())
})

test('what another system says too is corroborated; what it says otherwise counts', async () => {
  const say = async (value: string, validMinutes?: number): Promise<unknown> =>
    ada.send(
      'PUT',
      `/endpoints/${laptop.agent.id}/statements`,
      {
        statements: [
          {
            system: 'mdm',
            claim: 'endpoint.firewall',
            value,
            at: new Date().toISOString(),
            ...(validMinutes === undefined ? {} : { validMinutes }),
          },
        ],
      },
      z.unknown(),
    )
  await say('on')
  expect(await claimOf('endpoint.firewall')).toMatchObject({ value: 'on', source: 'corroborated' })
  await say('off')
  expect(await claimOf('endpoint.firewall')).toMatchObject({ value: 'off', source: 'server' })
  await say('on')
  seen.see('endpoint.firewall', 'off')
  await untilClaim('endpoint.firewall', 'off')
  expect(await claimOf('endpoint.firewall')).toMatchObject({ source: 'self' })
  seen.see('endpoint.firewall', 'on')
  await untilClaim('endpoint.firewall', 'on')
  await expect(
    ada.send(
      'PUT',
      `/endpoints/${laptop.agent.id}/statements`,
      {
        statements: [
          { system: 'mdm', claim: 'endpoint.bootState', value: 'expected', at: new Date().toISOString() },
        ],
      },
      z.unknown(),
    ),
  ).rejects.toMatchObject({ code: 'BAD_REQUEST' })
  await database.rows(`update endpoint_statements set expires_at = now()`)
  expect(await claimOf('endpoint.firewall')).toMatchObject({ value: 'unknown', selfReported: 'on' })
})

test('an endpoint that falls silent is trusted less, and more again when it speaks', async () => {
  const silent = toldObserver()
  await using quiet = await enrolEndpoint(site, ada, 'laptop-2', { report: { observers: [silent] } })
  await untilClaim('endpoint.reporting', 'current', quiet)
  // As if two periods had passed without a word.
  await database.rows(
    `update endpoint_evidence set last_at = last_at - interval '3 minutes' where endpoint_id = $1`,
    [quiet.agent.id],
  )
  expect(await claimOf('endpoint.reporting', quiet)).toMatchObject({ value: 'silent' })
  silent.see('endpoint.edr', 'on')
  await untilClaim('endpoint.reporting', 'current', quiet)
})

test('every change of claims is in the audit log', async () => {
  const rows = await database.rows('select entry from audit_entries order by index')
  const changed = rows
    .map(({ entry }) => decodeEntry(entry as Buffer))
    .filter(({ kind }) => kind === 'trust-changed')
  expect(JSON.stringify(changed)).toContain('"claim":"endpoint.antivirus","from":"unknown","to":"off"')
})

test('when many fall at once running work is not cut, new launches follow the policy, and admins are called', async () => {
  const fleet = await Promise.all(
    Array.from({ length: 11 }, async (_, index) => {
      const observer = toldObserver()
      const endpoint = undo.use(
        await enrolEndpoint(site, ada, `fleet-${index}`, { report: { observers: [observer] } }),
      )
      return { endpoint, observer }
    }),
  )
  const [first] = fleet
  if (first === undefined) throw new Error('there is a fleet')
  for (const { endpoint } of fleet) await untilClaim('endpoint.reporting', 'current', endpoint)
  const nora = await site.signIn('nora')
  const made = await first.endpoint.launch(nora, 'lab')
  const use = await leaseInUse(first.endpoint, made)
  // All but the one that work runs on: then the brake is on before it falls.
  for (const { observer } of fleet.slice(1)) observer.see('endpoint.firewall', 'off')
  await until(async () => (await alarms()).some(({ kind }) => kind === 'brake'), 'the brake is on', 40_000)
  first.observer.see('endpoint.firewall', 'off')
  await untilClaim('endpoint.firewall', 'off', first.endpoint)
  await activate(`${await policyText()}\n// Decided again.\n`)
  await new Promise((resolve) => setTimeout(resolve, 2_000))
  expect(use.ended).toBeUndefined()
  // Somebody who launches now is given what the policy gives.
  const launched = await first.endpoint.launch(ada, 'lab')
  expect(launched.delivery.kind).toBe('hosted')
  const [alarm] = await alarms()
  await ada.send('POST', `/alarms/${alarm?.id}/acknowledge`, undefined, z.unknown())
  expect((await alarms())[0]?.acknowledged?.by).toBeDefined()
  await ada.send('POST', `/alarms/${alarm?.id}/lift`, undefined, z.unknown())
  expect(await use.end).toMatchObject({ code: 'LEASE_WITHDRAWN', notice: { code: 'TRUST_LOST' } })
  expect(await alarms()).toEqual([])
}, 180_000)

/** What docs/posture.md says is sent, by its names here. */
const documented = z.strictObject({
  endpoint: uuid,
  site: uuid,
  nonce: bytes32,
  sequence: z.int(),
  previous: z.string().optional(),
  at: z.int(),
  exporter: bytes32,
  observations: z.array(
    z.strictObject({
      claim: z.enum(claimNames),
      value: z.string(),
      collector: z.string(),
      detail: z.string(),
    }),
  ),
  beacon: z.string().optional(),
})

/** Somebody sits here, with a desktop, programs, files and a history that are their own, and looks into what Trustcast started. */
async function atWork(): Promise<AsyncDisposable> {
  const home = await mkdtemp(join(tmpdir(), `tc-${ownWord}-`))
  await chmod(home, 0o755)
  for (const name of ['.bash_history', `${ownWord}.odt`])
    await writeFile(join(home, name), `firefox https://${ownWord}.example\n`)
  const env = { ...process.env, HOME: home, SECRET: ownWord }
  const children: ChildProcess[] = []
  const run = async (name: string, of: string, words: readonly string[], as: object = {}) => {
    await copyFile(of, join(home, name))
    const child = spawn(join(home, name), words, {
      ...as,
      cwd: home,
      env,
      stdio: ['pipe', 'ignore', 'ignore'],
    })
    children.push(child)
    await once(child, 'spawn')
    return String(child.pid)
  }
  const waiting = ['-c', 'read', `--title=${ownWord}`, `/home/${ownWord}`]
  await run('gnome-shell', '/bin/bash', waiting, games)
  const traced = await run(`${ownWord}-app`, '/bin/bash', waiting, games)
  await run(`${ownWord}-looks`, '/usr/bin/strace', ['--attach', traced])
  vi.stubEnv('SUDO_UID', String(games.uid))
  vi.stubEnv('HOME', home)
  return {
    [Symbol.asyncDispose]: async () => {
      vi.unstubAllEnvs()
      for (const child of children.toReversed()) {
        const gone = once(child, 'exit')
        child.kill('SIGKILL')
        await gone
      }
      await rm(home, { recursive: true })
    },
  }
}

async function claimOf(name: string, endpoint = laptop): Promise<EndpointClaim | undefined> {
  const { claims } = await ada.get(`/endpoints/${endpoint.agent.id}/claims`, endpointClaimsAnswer)
  return claims.find((claim) => claim.name === name)
}

async function untilClaim(name: string, value: string, endpoint = laptop): Promise<void> {
  await until(async () => (await claimOf(name, endpoint))?.value === value, `${name} is ${value}`)
}

async function workspaceOf(client: SignedInClient, id: string) {
  const endpoint = await readEndpointCredentials(laptop.dir)
  const { workspaces } = await callJson(
    site.address,
    { method: 'GET', path: '/api/v1/workspaces' },
    z.object({ workspaces: z.array(workspaceView) }),
    { ...client.credentials, endpoint },
  )
  const found = workspaces.find((one) => one.id === id)
  if (found === undefined) throw new Error(`no workspace ${id}`)
  return found
}

async function alarms() {
  return (await ada.get('/alarms', alarmsAnswer)).alarms
}

async function policyText(): Promise<string> {
  return (await ada.get('/admin/policy', z.object({ text: z.string() }))).text
}

/** Until it is disposed of. */
async function forbidCopyingOut(condition: string): Promise<AsyncDisposable> {
  const before = await policyText()
  const rule = `@id("no-copying-out")\nforbid (principal, action == Action::"clipboard-out", resource)\n${condition};\n`
  await activate(`${before}\n${rule}`)
  return { [Symbol.asyncDispose]: () => activate(before) }
}

async function activate(text: string): Promise<void> {
  await ada.send('PUT', '/admin/policy', { text }, z.unknown())
}

test('the list of endpoints says who reports and that none is forked; what changed is told of each', async () => {
  const { endpoints } = await ada.get('/endpoints', endpointsAnswer)
  const shown = endpoints.find(({ id }) => id === laptop.agent.id)
  expect(shown).toMatchObject({ online: true, forked: false, reports: true })
  const { changes } = await ada.get(`/endpoints/${laptop.agent.id}/claims`, endpointClaimsAnswer)
  expect(changes?.[0]?.changes.length).toBeGreaterThan(0)
})
