import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { type AgentIdentity, readIdentity } from '#apps/agent-client/index.ts'
import { alarmsAnswer, endpointClaimsAnswer } from '#core/api/evidence.ts'
import { sessionView } from '#core/api/person.ts'
import { encodeBase64url } from '#core/bytes/index.ts'
import { exportPublic } from '#core/channel/index.ts'
import type { EvidenceStatement } from '#core/evidence/index.ts'
import { vmConfigFile } from '#core/vm/index.ts'
import { enrolEndpoint, leaseInUse } from './enrolled-endpoint.rig.ts'
import { toldObserver } from './observed-endpoint.rig.ts'
import { diskWorkspace, emptyImage, publishForTest } from './published-release.rig.ts'
import { dialAsEndpoint, enrolledIdentity, type RawEndpoint } from './raw-endpoint.rig.ts'
import { type RunningSite, type SignedInClient, startSite, until } from './running-site.rig.ts'
import { openDatabase, type SiteDatabase } from './site-database.rig.ts'

/** What silence does to running work, and what counts as a fall of many. Each test begins where the one before has ended. */

let site: RunningSite
let database: SiteDatabase
let ada: SignedInClient
let nora: SignedInClient
let undo: AsyncDisposableStack

interface Reporting {
  readonly identity: AgentIdentity
  readonly raw: RawEndpoint
  /** What its next statement answers. */
  readonly nonce: string
  /** What the site gave for its last statement. */
  readonly previous: string
}
let office: readonly Reporting[]
let field: readonly Reporting[]

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  site = undo.use(await startSite({ args: ['--hosts', '1', '--gateways', '1'] }))
  database = undo.use(await openDatabase(site))
  ada = await site.signIn('ada')
  nora = await site.signIn('nora')
  // A node notices no silence before it has been there for two periods.
  await Promise.all([sleep(121_000), offerWork()])
  office = await fleetOf('office')
  field = await fleetOf('field')
}, 240_000)
afterAll(() => undo.disposeAsync())

const policy = `
@id("on-devices")
permit (principal, action in [Action::"streamed-disk", Action::"local-vm"], resource)
when { context.endpoint.reporting.value == "current" };

@id("hosted")
permit (principal, action == Action::"hosted-shared", resource);

@id("works")
permit (principal, action == Action::"input", resource);

@id("copies-out")
permit (principal, action == Action::"clipboard-out", resource)
when { context.endpoint.reporting.value == "current" };
`

test('what runs on a device is taken from it when it falls silent, and what runs for it elsewhere keeps what silence permits', async () => {
  await using work = await startWork('alone')
  await work.fallSilent()
  const lost = { code: 'LEASE_WITHDRAWN', notice: { code: 'TRUST_LOST', stepDown: 'hosted-shared' } }
  expect(await work.disk.end).toMatchObject(lost)
  expect(await work.vm.end).toMatchObject(lost)
  await until(async () => !(await work.hosted()).rights.includes('clipboard-out'), 'nothing is copied out')
  expect(await work.hosted()).toMatchObject({ state: 'ready', mode: 'hosted-shared', rights: ['input'] })
  expect((await work.device.launch(nora, 'lab')).delivery.kind).toBe('hosted')
})

test('people who go home and switch their devices off hold no running work: trust falls, and no brake comes on', async () => {
  for (const { raw } of office) await raw.leave()
  await untilSilent(office)
  const [first] = office
  const { claims } = await ada.get(`/endpoints/${first?.identity.id}/claims`, endpointClaimsAnswer)
  expect(claims.find(({ name }) => name === 'endpoint.reporting')).toMatchObject({ value: 'silent' })
  await sleep(5_000)
  expect(await alarms()).toEqual([])
})

test('an agent that is stopped in order says goodbye', async () => {
  const observer = toldObserver()
  const one = await enrolEndpoint(site, ada, 'stopped', { report: { observers: [observer] } })
  await until(() => one.agent.reporter?.verdict !== undefined, 'its evidence was taken')
  await one[Symbol.asyncDispose]()
  await until(
    async () =>
      (
        await database.rows('select from endpoint_evidence where endpoint_id = $1 and left_at >= last_at', [
          one.agent.id,
        ])
      ).length === 1,
    'its goodbye was heard',
  )
})

test('who comes back after an update and is worse counts, however orderly they left', async () => {
  const off = { claim: 'endpoint.antivirus', value: 'off', collector: 'test', detail: '' } as const
  for (const { identity, previous } of office)
    await report(identity, { sequence: 2, previous, observations: [off] })
  await until(async () => (await alarms()).length === 1, 'the brake is on')
  const [alarm] = await alarms()
  expect(alarm?.message).toMatch(/^1[0-3] of /)
  await ada.send('POST', `/alarms/${alarm?.id}/lift`, undefined, z.unknown())
})

test('a collector that dies everywhere makes nobody fall', async () => {
  const died = 'COLLECTOR_CRASHED: it failed; see the log'
  const dead = { claim: 'endpoint.antivirus', value: 'unknown', collector: 'clamd', detail: died } as const
  for (const { raw, nonce, previous } of field) {
    raw.say({
      kind: 'evidence',
      statement: raw.statement(nonce, { sequence: 2, previous, observations: [dead] }),
    })
    expect((await raw.next('challenge')).previous).not.toBe(previous)
  }
  const ids = field.map(({ identity }) => identity.id)
  const fallen = 'select from endpoint_evidence where fell_at is not null and endpoint_id = any($1)'
  expect(await database.rows(fallen, [ids])).toEqual([])
})

test('many whose service dies put it on: what runs, hosted and on devices, goes on, and what is launched anew follows the policy', async () => {
  await using work = await startWork('amid')
  for (const { raw } of field) raw[Symbol.dispose]()
  await untilSilent(field)
  await until(async () => (await alarms()).length === 1, 'the brake is on')
  const before = await work.hosted()
  await work.fallSilent()
  // What is no evidence takes effect as ever: by that all is known to have been decided again.
  const narrower = policy.replace('@id("works")', '@id("works")\n@idleMinutes("7")')
  await ada.send('PUT', '/admin/policy', { text: narrower }, z.unknown())
  await until(isAllDecidedAgain, 'all was decided again')
  const { state, mode, rights } = before
  expect(await work.hosted()).toMatchObject({ state, mode, rights, obligations: { idleMinutes: 7 } })
  expect([work.disk.ended, work.vm.ended]).toEqual([undefined, undefined])
  for (const workspace of ['lab', 'machine'])
    expect((await work.device.launch(ada, workspace)).delivery.kind).toBe('hosted')

  const [alarm] = await alarms()
  await ada.send('POST', `/alarms/${alarm?.id}/lift`, undefined, z.unknown())
  const lost = { code: 'LEASE_WITHDRAWN', notice: { code: 'TRUST_LOST' } }
  expect(await work.disk.end).toMatchObject(lost)
  expect(await work.vm.end).toMatchObject(lost)
  await until(async () => !(await work.hosted()).rights.includes('clipboard-out'), 'nothing is copied out')
})

async function isAllDecidedAgain(): Promise<boolean> {
  return (await database.rows('select from redecisions')).length === 0
}

async function offerWork(): Promise<void> {
  await ada.send('PUT', '/admin/policy', { text: policy }, z.unknown())
  await publishForTest(ada, 'office', emptyImage('office', vmConfigFile.parse({ memoryMiB: 32 })))
  const disk = { image: 'office', channel: 'production' } as const
  for (const workspace of [
    diskWorkspace('office', { id: 'lab' }),
    diskWorkspace('office', { id: 'machine', modes: ['local-vm', 'hosted-shared'], disk }),
    diskWorkspace('office', { id: 'hosted', modes: ['hosted-shared'] }),
  ])
    await ada.send('PUT', `/admin/workspaces/${workspace.id}`, workspace, z.unknown())
}

/** A device, where a disk and a VM are open and from which a session was opened that runs in the data centre. */
async function startWork(name: string) {
  const device = undo.use(await enrolEndpoint(site, ada, name))
  const sealKey = encodeBase64url(await exportPublic(device.agent.sealKeys.publicKey))
  const reporting = await report(await readIdentity(device.dir, 'endpoint'), { sequence: 1 }, sealKey)
  const disk = await leaseInUse(device, await device.launch(nora, 'lab'))
  const vm = await leaseInUse(device, await device.launch(nora, 'machine'))
  const { id } = (await device.launch(nora, 'hosted')).delivery.session
  const hosted = async () => nora.get(`/sessions/${id}`, sessionView)
  expect((await hosted()).rights).toContain('clipboard-out')
  return {
    device,
    disk,
    vm,
    hosted,
    fallSilent: async () => {
      reporting.raw[Symbol.dispose]()
      await untilSilent([reporting])
    },
    /** Nothing of it runs on. */
    [Symbol.asyncDispose]: async () => {
      const { sessions } = await nora.get('/sessions', z.object({ sessions: z.array(sessionView) }))
      for (const session of sessions)
        await nora.send('DELETE', `/sessions/${session.id}`, undefined, z.unknown())
      await until(
        async () =>
          (await nora.get('/sessions', z.object({ sessions: z.array(z.unknown()) }))).sessions.length === 0,
        'all of it has ended',
      )
    },
  }
}

/** As many as the brake is about, and some. */
async function fleetOf(name: string): Promise<readonly Reporting[]> {
  const fleet: Reporting[] = []
  for (let count = 0; count < 12; count++)
    fleet.push(await report(await enrolledIdentity(site, ada, `${name}-${count}`), { sequence: 1 }))
  return fleet
}

/** Connects, and says what it sees. */
async function report(
  identity: AgentIdentity,
  statement: Partial<EvidenceStatement> & { readonly sequence: number },
  sealKey?: string,
): Promise<Reporting> {
  const raw = undo.use(await dialAsEndpoint(identity, true, sealKey))
  const { nonce } = await raw.next('challenge')
  expect(await raw.tell(raw.statement(nonce, statement))).toBeUndefined()
  const { nonce: next, previous = '' } = await raw.next('challenge')
  return { identity, raw, nonce: next, previous }
}

/** As if two periods had passed without a word. */
async function untilSilent(fleet: readonly Reporting[]): Promise<void> {
  const ids = [fleet.map(({ identity }) => identity.id)]
  await database.rows(
    `update endpoint_evidence set last_at = last_at - interval '3 minutes' where endpoint_id = any($1)`,
    ids,
  )
  const silent = 'select from endpoint_evidence where silent and endpoint_id = any($1)'
  await until(
    async () => (await database.rows(silent, ids)).length === fleet.length,
    'their silence is noticed',
  )
}

async function alarms() {
  return (await ada.get('/alarms', alarmsAnswer)).alarms
}
