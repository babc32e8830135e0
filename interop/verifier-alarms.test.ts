import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { alarmsAnswer } from '#core/api/evidence.ts'
import { enrolEndpoint } from './enrolled-endpoint.rig.ts'
import { toldObserver } from './observed-endpoint.rig.ts'
import { dialAsEndpoint, enrolledIdentity, type RawEndpoint } from './raw-endpoint.rig.ts'
import { type RunningSite, type SignedInClient, startSite, until } from './running-site.rig.ts'
import { type SecondNode, startSecondNode } from './second-node.rig.ts'
import { openDatabase, type SiteDatabase } from './site-database.rig.ts'

/** A verifier that stopped working is itself an alarm; one that works is none. */

let site: RunningSite
let second: SecondNode
let database: SiteDatabase
let ada: SignedInClient
/** The only endpoint at the second node; it answers no challenge. */
let mute: RawEndpoint
let undo: AsyncDisposableStack

beforeAll(async () => {
  undo = new AsyncDisposableStack()
  site = undo.use(await startSite({ args: ['--hosts', '1', '--gateways', '1'] }))
  second = undo.use(await startSecondNode(site))
  database = undo.use(await openDatabase(site))
  ada = await site.signIn('ada')
  mute = undo.use(await dialAtTheSecond('mute'))
  await database.rows(`create function refuse_it() returns trigger language plpgsql
    as $$ begin raise exception 'nothing is written here'; end $$`)
})
// Whatever became of the test: the next one writes again.
afterEach(takeEvidence)
afterAll(() => undo.disposeAsync())

test('evidence that changes something and cannot be written down is an alarm, until it can', async () => {
  const observer = toldObserver()
  await using laptop = await enrolEndpoint(site, ada, 'laptop', { report: { observers: [observer] } })
  await until(() => laptop.agent.reporter?.verdict !== undefined, 'its evidence was taken')
  await refuseEvidence()
  observer.see('endpoint.antivirus', 'off')
  await until(async () => isStanding('verifier-lags'), 'it is an alarm', 60_000)
  const { alarms } = await ada.get('/alarms', alarmsAnswer)
  expect(alarms[0]).toMatchObject({ kind: 'verifier', remedy: expect.stringContaining('log of this node') })
  await takeEvidence()
  await until(async () => !(await isStanding('verifier-lags')), 'it is over', 60_000)
}, 150_000)

test('evidence that repeats what was said and cannot be written down is an alarm, until it can', async () => {
  using raw = await dialAsEndpoint(await enrolledIdentity(site, ada, 'repeating'))
  const say = async (sequence: number): Promise<void> => {
    const { nonce, previous } = await raw.next('challenge')
    raw.say({
      kind: 'evidence',
      statement: raw.statement(nonce, { sequence, ...(previous === undefined ? {} : { previous }) }),
    })
  }
  await say(1)
  await raw.next('verdict')
  await refuseEvidence()
  await say(2)
  await until(async () => isStanding('verifier-lags'), 'it is an alarm', 60_000)
  await takeEvidence()
  await until(async () => !(await isStanding('verifier-lags')), 'it is over')
}, 100_000)

test('evidence of many that cannot be taken is an alarm', async () => {
  for (let count = 0; count < 10; count++) {
    expect(await isStanding('verifier-refuses')).toBe(false)
    using raw = await dialAsEndpoint(await enrolledIdentity(site, ada, `garbage-${count}`))
    await raw.next('challenge')
    expect(await raw.tell('what.is.this')).toBe('EVIDENCE_MALFORMED')
  }
  await until(async () => isStanding('verifier-refuses'), 'it is an alarm')
})

test('an endpoint that is connected and says nothing is an alarm of its node, which no other node ends', async () => {
  await until(async () => isStanding('verifier-silent'), 'it is an alarm', 200_000)
  await sleep(6_000)
  expect(await silences()).toEqual([
    { key: expect.stringContaining(new URL(second.agentUrl).port), over: false },
  ])
  // Its first answer comes too late. Then it is found on two machines and not waited for any more, although it goes on.
  for (const code of ['EVIDENCE_STALE', 'EVIDENCE_FORKED', 'EVIDENCE_FORKED']) {
    const { nonce } = await mute.next('challenge')
    expect(await mute.tell(mute.statement(nonce, { previous: `7.${'A'.repeat(43)}` }))).toBe(code)
  }
  await until(async () => !(await isStanding('verifier-silent')), 'it is over')
}, 240_000)

test('the first endpoint that connects after a quiet time is none', async () => {
  using raw = await dialAtTheSecond('newcomer')
  const { nonce } = await raw.next('challenge')
  // Until its first report the node looks several times.
  await sleep(6_000)
  expect(await raw.tell(raw.statement(nonce))).toBeUndefined()
  await sleep(3_000)
  expect(await silences()).toHaveLength(1)
})

async function dialAtTheSecond(name: string): Promise<RawEndpoint> {
  const identity = await enrolledIdentity(site, ada, name)
  return dialAsEndpoint({ ...identity, agentUrl: second.agentUrl })
}

async function refuseEvidence(): Promise<void> {
  await database.rows(
    `create trigger refused before insert or update on endpoint_evidence for each row execute function refuse_it()`,
  )
}

async function takeEvidence(): Promise<void> {
  await database.rows('drop trigger if exists refused on endpoint_evidence')
}

async function isStanding(alarm: string): Promise<boolean> {
  const rows = await database.rows('select key from alarms where ended_at is null')
  return rows.some(({ key }) => String(key).startsWith(alarm))
}

/** Every alarm about silence there ever was. */
async function silences() {
  return database.rows(
    `select key, ended_at is not null as over from alarms where key like 'verifier-silent%' order by raised_at`,
  )
}
