import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import type { AgentIdentity } from '#apps/agent-client/index.ts'
import { alarmsAnswer, endpointClaimsAnswer } from '#core/api/evidence.ts'
import type { EvidenceStatement } from '#core/evidence/index.ts'
import { enrolEndpoint } from './enrolled-endpoint.rig.ts'
import { toldObserver } from './observed-endpoint.rig.ts'
import { dialAsEndpoint, enrolledIdentity, type RawEndpoint } from './raw-endpoint.rig.ts'
import { type RunningSite, type SignedInClient, startSite, until } from './running-site.rig.ts'
import { openDatabase, type SiteDatabase } from './site-database.rig.ts'

/** What counts as a fall of many. Each test begins where the one before has ended. */

let site: RunningSite
let database: SiteDatabase
let ada: SignedInClient
let undo: AsyncDisposableStack

interface Reporting {
  readonly identity: AgentIdentity
  readonly raw: RawEndpoint
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
  // A node notices no silence before it has been there for two periods.
  await sleep(121_000)
  office = await fleetOf('office')
  field = await fleetOf('field')
}, 240_000)
afterAll(() => undo.disposeAsync())

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
  expect(alarm?.message).toMatch(/^12 of /)
  await ada.send('POST', `/alarms/${alarm?.id}/lift`, undefined, z.unknown())
})

test('many that fall silent without a goodbye put it on', async () => {
  for (const { raw } of field) raw[Symbol.dispose]()
  await untilSilent(field)
  await until(async () => (await alarms()).length === 1, 'the brake is on')
})

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
): Promise<Reporting> {
  const raw = undo.use(await dialAsEndpoint(identity))
  const { nonce } = await raw.next('challenge')
  expect(await raw.tell(raw.statement(nonce, statement))).toBeUndefined()
  const { previous = '' } = await raw.next('challenge')
  return { identity, raw, previous }
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
