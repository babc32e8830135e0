import { randomBytes, randomUUID } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { sql, type Transaction, type Updateable } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  type Database,
  evidenceOf,
  leaseById,
  listPeople,
  openAlarms,
  personById,
  personByLogin,
  raiseAlarm,
  sessionById,
  updatePerson,
  workRedecisions,
  workspaceById,
  writeEvidence,
  writeWorkspace,
} from '#adapters/store-postgres/index.ts'
import { createHostLink } from '#apps/site/agents/host-link.ts'
import { discardsOf, noteDiscarded } from '#apps/site/data/discards.ts'
import { finishLease, withdrawLeaseOf } from '#apps/site/data/leases.ts'
import { removeOutlivedReplicas } from '#apps/site/data/replica-retention.ts'
import { commitManifest, keepPiece } from '#apps/site/data/replicas.ts'
import { isBraking, judgeBrake } from '#apps/site/evidence/brake.ts'
import { isReturning, readEvidence } from '#apps/site/evidence/evidence.ts'
import { createEvidenceDesk } from '#apps/site/evidence/evidence-desk.ts'
import { judgeClock } from '#apps/site/evidence/node-clock.ts'
import { furnish } from '#apps/site/first-start.ts'
import { decideAgain } from '#apps/site/launches/decide-again.ts'
import { finishSession, watchSessions } from '#apps/site/launches/live-sessions.ts'
import { activatePolicy, changePerson } from '#apps/site/people/administering.ts'
import { finishDeletions, removePerson, removeWorkspace } from '#apps/site/people/deletion.ts'
import { createSetupToken, setUp, signIn } from '#apps/site/people/signing-in.ts'
import { depositKey } from '#apps/site/releases/image-keys.ts'
import type { Site } from '#apps/site/site.ts'
import type { SiteError } from '#apps/site/site-error.ts'
import { addDemoContent } from '#apps/up/demo.ts'
import { overlayKeyOf } from '#core/artifact/image-key.ts'
import { PieceSet } from '#core/block/piece-set.ts'
import { encodeManifest, ReplicaKeys } from '#core/replica/index.ts'
import { addHost, addLease, addPerson, addSession, openNodes, type SiteNodes } from './site-nodes.rig.ts'

/** What happens at once, at one node or at two, and must not come into each other's way. */

const system = { type: 'system', id: 'test' } as const
let nodes: SiteNodes
let hostId: string

beforeAll(async () => {
  nodes = await openNodes()
  hostId = await addHost(nodes.one)
})
afterAll(() => nodes[Symbol.asyncDispose]())

test('nodes that begin at once in an empty folder are one site', async () => {
  const { one, two } = nodes
  expect(keysOf(two)).toEqual(keysOf(one))
  expect(one.imageSecret).toHaveLength(32)
  const left = await readdir(one.config.state, { recursive: true })
  expect(left.filter((name) => name.includes('partial'))).toEqual([])
})

test('a brake that is to be let go holds up no re-decision; whoever watches lets go, and what it held back is decided', async () => {
  const { one } = nodes
  const { db } = one.store
  const session = await addSession(one, hostId)
  const words = { kind: 'brake', message: '', remedy: '' } as const
  await raiseAlarm(db, { id: randomUUID(), key: 'brake', ...words, raised_at: new Date() })
  await decideAgain(one, 'evidence', { sessionId: session })
  const held: boolean[] = []
  await workRedecisions(db, async () => void held.push(await isBraking(one)))
  expect(held).toEqual([false])
  await judgeBrake(one)
  expect(await openAlarms(db)).toEqual([])
  const left: string[] = []
  await workRedecisions(db, async (id) => void left.push(id))
  expect(left).toContain(session)
})

test('however many ask for a session that is being decided, that work and everybody else find a connection', async () => {
  const { one } = nodes
  const { db } = one.store
  const session = await addSession(one, hostId)
  await decideAgain(one, 'sweep', { sessionId: session })
  const begun = Promise.withResolvers<void>()
  const asked = Promise.withResolvers<void>()
  const working = workRedecisions(db, async (id) => {
    begun.resolve()
    await asked.promise
    await sessionById(db, id)
  })
  await begun.promise
  const asking = Array.from({ length: 40 }, () => decideAgain(one, 'sweep', { sessionId: session }))
  const found = await sessionById(db, session).finally(() => asked.resolve())
  expect(found).toMatchObject({ id: session })
  expect(await working).toBeGreaterThan(0)
  await Promise.all(asking)
})

test('a session that is frozen while its host says that it is ready stays frozen', async () => {
  const { one } = nodes
  const session = await addSession(one, hostId, { state: 'starting' })
  const link = createHostLink(one, hostId, () => {}, one.log)
  const machine = { kind: 'report', cpuPercent: 1, memoryFreeMiB: 1, warm: 0 }
  const report = JSON.stringify({ ...machine, sessions: [{ id: session, state: 'ready', connected: true }] })
  const end = { code: 'TRUST_LOST', reason: '', unlocks: [], at: new Date().toISOString() }
  await meanwhile(session, () => link.receive(report, one.now()), {
    state: 'ending',
    end: JSON.stringify(end),
  })
  link.close(false)
  expect(await sessionById(one.store.db, session)).toMatchObject({ state: 'ending', connected: true })
})

test('a session that gets ready while its terms change is ready', async () => {
  const { one } = nodes
  await activatePolicy(one, '@id("all") permit (principal, action, resource);', '', system)
  const session = await addSession(one, hostId, { state: 'starting' })
  const now = () => sessionById(one.store.db, session)
  const watching = watchUntil(one, async () => (await now())?.rights.includes('input') === true)
  await meanwhile(session, () => decideAgain(one, 'sweep', { sessionId: session }), { state: 'ready' })
  await watching
  expect(await now()).toMatchObject({ state: 'ready' })
})

test('what two nodes end at once is ended once in the log', async () => {
  const { one, two } = nodes
  const end = { code: 'SESSION_OVER', reason: '' }
  const sessions = await Promise.all(Array.from({ length: 8 }, () => addSession(one, hostId)))
  const later = new Date(Date.now() + 3_600_000)
  const leases = await Promise.all(Array.from({ length: 8 }, () => addLease(one, later)))
  const endAll = (site: Site) =>
    Promise.all([
      ...sessions.map((id) => finishSession(site, id, end, system)),
      ...leases.map((id) => finishLease(site, id, end, system)),
    ])
  await Promise.all([endAll(one), endAll(two)])
  const [sessionEnds, leaseEnds] = await Promise.all([
    nodes.entries('session-ended'),
    nodes.entries('lease-ended'),
  ])
  expect(sessionEnds).toHaveLength(sessions.length)
  expect(new Set(sessionEnds.map(({ subject }) => subject))).toEqual(new Set(sessions))
  expect(leaseEnds).toHaveLength(leases.length)
  expect(new Set(leaseEnds.map(({ subject }) => subject))).toEqual(new Set(leases))
})

test('what several take back at once, while its session ends, is taken back once in the log', async () => {
  const { one, two } = nodes
  const later = new Date(Date.now() + 3_600_000)
  const leases = await Promise.all(Array.from({ length: 4 }, () => addLease(one, later)))
  const found = await Promise.all(leases.map((id) => leaseById(one.store.db, id)))
  const sessions = found.map((lease) => lease?.session_id ?? '')
  const takeBack = (site: Site, code: string) =>
    sessions.map((id) => withdrawLeaseOf(site, { id }, { code, reason: '' }, system))
  const end = { code: 'SESSION_OVER', reason: '' }
  const [withdrawn] = await Promise.all([
    Promise.all([...takeBack(one, 'TRUST_LOST'), ...takeBack(two, 'LEASE_WITHDRAWN_BY_ADMIN')]),
    ...sessions.map((id) => finishSession(two, id, end, system)),
  ])
  expect(withdrawn.filter(Boolean).length).toBeLessThanOrEqual(leases.length)
  const logged = (await nodes.entries('lease-withdrawn')).filter(({ subject = '' }) =>
    leases.includes(subject),
  )
  expect(logged.map(({ subject = '' }) => subject).toSorted()).toEqual(leases.toSorted())
})

test('a lease that is prolonged when it was found to be over already goes on', async () => {
  const { one } = nodes
  const { db } = one.store
  const leases = await Promise.all(Array.from({ length: 3 }, () => addLease(one, new Date(0))))
  const open = () =>
    db.selectFrom('leases').select('id').where('id', 'in', leases).where('state', '=', 'held')
  // While the first of them ends the others are prolonged.
  const record: Site['audit']['record'] = async (kind, actor, subject, data) => {
    if (kind === 'lease-ended')
      await db
        .updateTable('leases')
        .set({ expires_at: new Date(Date.now() + 60_000) })
        .where('id', 'in', leases)
        .where('id', '<>', subject ?? '')
        .execute()
    return one.audit.record(kind, actor, subject, data)
  }
  await watchUntil({ ...one, audit: { record } }, async () => (await open().execute()).length < leases.length)
  expect(await open().execute()).toHaveLength(leases.length - 1)
})

test('what nodes remove at once of copies that outlive the policy is told once; the newest one, and older ones until it is whole, stay', async () => {
  const { one, two } = nodes
  const { db } = one.store
  const key = randomBytes(32)
  const overlayKey = overlayKeyOf(key)
  await depositKey(one, 'office', key, system)
  const later = new Date(Date.now() + 600_000)
  const [first, second] = [await addLease(one, later), await addLease(one, later)]
  const { person_id, endpoint_id } = (await leaseById(db, first))!
  await db
    .updateTable('leases')
    .set({ person_id, endpoint_id, version: '2' })
    .where('id', '=', second)
    .execute()
  await db
    .updateTable('leases')
    .set({ overlay: 'replicate', overlay_at_start: 'replicate' })
    .where('id', 'in', [first, second])
    .execute()
  const commit = async (leaseId: string): Promise<void> => {
    const lease = (await leaseById(db, leaseId))!
    const base = `office:${lease.version} ${'ab'.repeat(32)}`
    const keys = new ReplicaKeys(overlayKey, { personId: person_id, scope: '', base })
    const names = new Map([[0, pieceOf(lease.version)]])
    const zeros = new PieceSet(1)
    const state = { base, blocks: 64, sequence: 1, writtenAt: 1, names, zeros }
    await keepPiece(one, lease, pieceOf(lease.version), randomBytes(10))
    await commitManifest(one, lease, 0, encodeManifest(keys, state))
  }
  const left = async (): Promise<readonly string[]> =>
    (await db.selectFrom('replicas').select('version').orderBy('version').execute()).map((row) => row.version)
  const sweep = (days: number) =>
    Promise.all(
      [one, two].map(async (node) =>
        removeOutlivedReplicas({ ...node, now: () => Date.now() + days * 86_400_000 }),
      ),
    )
  await commit(first)
  await sweep(100)
  expect(await left()).toEqual(['1'])
  await commit(second)
  const rows = await db.selectFrom('replicas').select(['id', 'version']).orderBy('version').execute()
  const [older = '', newer = ''] = rows.map(({ id }) => id)
  await sweep(29)
  expect(await left()).toEqual(['1', '2'])

  // A piece of the newer is gone: the older is all that there is.
  await one.replicas.remove(newer)
  await sweep(31)
  expect(await left()).toEqual(['1', '2'])
  expect(await one.replicas.piece(older, pieceOf('1'))).toBeDefined()
  await db.deleteFrom('replicas').where('id', '=', newer).execute()
  await commit(second)
  await sweep(31)
  expect(await left()).toEqual(['2'])
  expect(await one.replicas.piece(older, pieceOf('1'))).toBeUndefined()
  expect((await nodes.entries('replica-removed')).map(({ subject }) => subject)).toEqual([older])

  // The policy says otherwise, and its endpoint that it has discarded what it kept.
  await db.updateTable('leases').set({ overlay: 'discard' }).where('id', '=', second).execute()
  await finishLease(one, second, { code: 'LEASE_ENDED', reason: '' }, system)
  await expect.poll(left).toEqual([])
  expect(await nodes.entries('replica-removed')).toHaveLength(2)
})

test('while endpoints wait at a node that has begun, no other node counts them as silent', async () => {
  const { one, two } = nodes
  const stopped = new AbortController()
  const fresh = createEvidenceDesk(two, stopped.signal)
  const heard = Promise.withResolvers<void>()
  const waiting = Array.from({ length: 5 }, () => fresh.arrivals.take(() => heard.promise))
  // It has run for long.
  const clock = new Clock(-600_000)
  createEvidenceDesk({ ...one, now: clock.now }, stopped.signal)
  clock.shiftMs = 0
  const told = async (): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const off = one.hints.on(({ topic }) => topic === 'returning' && resolve())
    await promise
    off()
  }
  await told()
  const { isSilent } = await addUnheard()
  for (let turns = 0; turns < 3; turns += 1) await told()
  expect(await isSilent()).toBe(false)
  heard.resolve()
  await Promise.all(waiting)
  await expect.poll(clock.later(isSilent)).toBe(true)
  stopped.abort()
})

test('many that come at once to a node that has run for long are waited for, and what runs goes by what they said; one with many connections is not', async () => {
  const { two } = nodes
  const stopped = new AbortController()
  const clock = new Clock(-7_200_000)
  const long = { ...two, now: clock.now }
  const desk = createEvidenceDesk(long, stopped.signal)
  clock.shiftMs = 0
  const heard = Promise.withResolvers<void>()
  const come = (id: string) => desk.arrivals.take(() => heard.promise, id)
  const waiting = Array.from({ length: 20 }, () => come('one'))
  const first = await addUnheard()
  await expect.poll(first.isSilent).toBe(true)
  const second = await addUnheard()
  waiting.push(...Array.from({ length: 10 }, (_, index) => come(String(index))))
  await expect.poll(() => isReturning(long)).toBe(true)
  const reporting = async ({ id }: { readonly id: string }) =>
    (await readEvidence(long, id, { isRunning: true })).claims.find(
      ({ name }) => name === 'endpoint.reporting',
    )?.value
  expect(await Promise.all([first, second].map(reporting))).toEqual(['silent', 'current'])
  heard.resolve()
  await Promise.all(waiting)
  await expect.poll(clock.later(() => reporting(second))).toBe('silent')
  await expect.poll(clock.later(second.isSilent)).toBe(true)
  stopped.abort()
})

test('a node whose clock is another than that of the database calls admins until it is not', async () => {
  const { one, two } = nodes
  const standing = async () =>
    (await openAlarms(one.store.db))
      .filter(({ key }) => key.startsWith('clock:'))
      .map(({ message }) => message)
  for (const [ms, said] of [
    [30_000, '30 s ahead of'],
    [-30_000, '30 s behind'],
  ] as const) {
    await judgeClock({ ...two, now: () => Date.now() + ms })
    expect(await standing()).toEqual([expect.stringContaining(said)])
    await judgeClock(two)
    expect(await standing()).toEqual([])
  }
})

/** All that a site is known by. */
function keysOf({ siteId, authority, auditKey, directorKey, routeKey, imageSecret }: Site) {
  return [
    siteId,
    authority.intermediatePem,
    auditKey,
    Buffer.from(imageSecret).toString('hex'),
    ...[directorKey, routeKey].map((key) => key.export({ format: 'pem', type: 'pkcs8' })),
  ].map(String)
}

/** A clock that is not that of the machine. */
class Clock {
  shiftMs: number
  constructor(shiftMs: number) {
    this.shiftMs = shiftMs
  }
  readonly now = (): number => Date.now() + this.shiftMs
  /** Looks again and again, each time five minutes later: what another node has told before may still come, and counts as of then. */
  later<T>(look: () => Promise<T>): () => Promise<T> {
    return () => {
      this.shiftMs += 300_000
      return look()
    }
  }
}

/** An endpoint that was last heard of five minutes ago. */
async function addUnheard() {
  const { one } = nodes
  const lease = await leaseById(one.store.db, await addLease(one, new Date(Date.now() + 3_600_000)))
  const endpoint_id = lease?.endpoint_id ?? ''
  const said = { observations: '[]', attested: null, seen: null, path: null, beacon: null, changes: '[]' }
  const fell = { silent: false, settled: '{}', fallen: '{}', fell_at: null, forked_at: null }
  const last = { version: 1, sequence: 1, basis: 1, last_at: new Date(Date.now() - 300_000), address: '' }
  await writeEvidence(one.store.db, { endpoint_id, ...said, ...fell, ...last })
  const isSilent = async () => (await evidenceOf(one.store.db, endpoint_id))?.silent
  return { id: endpoint_id, isSilent }
}

test('of two links to set the site up at once one makes an admin', async () => {
  const { one, two } = nodes
  const wish = { name: 'First', password: 'a-long-password-1' }
  const links = await Promise.all([one, two].map(({ store }) => createSetupToken(store, Date.now())))
  const done = await Promise.allSettled(
    links.map((token = '', i) => setUp(i === 0 ? one : two, { ...wish, token, login: `first-${i}` })),
  )
  expect(done.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
  for (const each of done)
    if (each.status === 'rejected') expect(each.reason).toMatchObject({ code: 'CONFLICT' })
    else await updatePerson(one.store.db, each.value.id, { groups: [] })
})

test('of two admins who take the right from each other one keeps it', async () => {
  const { one, two } = nodes
  const [ada, bob] = [await addPerson(one, ['admins']), await addPerson(one, ['admins'])]
  const tried = await Promise.allSettled([
    changePerson(one, bob, { groups: [] }, { type: 'admin', id: ada }),
    changePerson(two, ada, { disabled: true }, { type: 'admin', id: bob }),
  ])
  expect(tried.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
  const refused = tried.find((one) => one.status === 'rejected')
  expect(refused?.reason).toMatchObject({ code: 'CONFLICT', remedy: expect.stringContaining('admin right') })
  const admins = (await listPeople(one.store.db, { limit: 100 })).filter(
    ({ id, disabled }) => [ada, bob].includes(id) && !disabled,
  )
  expect(admins.filter(({ groups }) => groups.includes('admins'))).toHaveLength(1)
})

test('parallel guesses count, and who signs in rightly from behind the same address is not slowed', async () => {
  const { one, two } = nodes
  const hasher = {
    hash: async () => '',
    verify: async (password: string) => ({ isRight: password === 'right', needsRehash: false }),
  }
  const login = async (site: Site, login: string, password: string): Promise<string> =>
    signIn({ ...site, hasher }, { login, password, address: '192.0.2.1' }).then(
      () => 'signed in',
      ({ code }: SiteError) => code,
    )
  const people = await Promise.all(Array.from({ length: 60 }, () => addPerson(one)))
  for (const person of people) expect(await login(one, person, 'right')).toBe('signed in')
  const victim = await addPerson(one)
  const guesses = await Promise.all(
    Array.from({ length: 60 }, (_, i) => login(i % 2 === 0 ? one : two, victim, `guess ${i}`)),
  )
  expect(guesses.filter((code) => code === 'SIGN_IN_REFUSED')).toHaveLength(4)
  expect(guesses.filter((code) => code === 'SIGN_IN_SLOWED')).toHaveLength(56)
})

/** Has a node look after sessions until something has come. */
async function watchUntil(site: Site, hasCome: () => Promise<boolean>): Promise<void> {
  const stopped = new AbortController()
  const watching = watchSessions(site, stopped.signal)
  await expect.poll(hasCome).toBe(true)
  stopped.abort()
  await watching
}

/** Changes a session between what somebody has read of it and what they write. */
async function meanwhile(
  id: string,
  begin: () => Promise<void>,
  change: Updateable<Database['sessions']>,
): Promise<void> {
  const begun = await nodes.two.store.db.transaction().execute(async (tx) => {
    await tx.selectFrom('sessions').select('id').where('id', '=', id).forUpdate().execute()
    const begun = begin()
    await expect.poll(() => isWaitedFor(tx)).toBe(true)
    await tx.updateTable('sessions').set(change).where('id', '=', id).execute()
    return { begun }
  })
  await begun.begun
}

/**
 * Whether somebody waits for what this transaction has locked, also on a connection that was made since: `pg_stat_activity` tells a
 * transaction of those that were there when it first asked.
 */
async function isWaitedFor(tx: Transaction<Database>): Promise<boolean> {
  const { rows } = await sql`
    select from pg_locks where not granted and pg_backend_pid() = any (pg_blocking_pids(pid))`.execute(tx)
  return rows.length > 0
}

test('two admins who delete each other at once leave one, and nobody deletes themselves', async () => {
  const { one, two } = nodes
  const [first, second] = [await addPerson(one, ['admins']), await addPerson(one, ['admins'])]
  const others = (await listPeople(one.store.db, { limit: 1000 })).filter(
    ({ id, groups }) => groups.includes('admins') && id !== first && id !== second,
  )
  for (const { id } of others) await changePerson(one, id, { groups: [] }, { type: 'admin', id: first })
  const settled = await Promise.allSettled([
    removePerson(one, second, 'keep', { type: 'admin', id: first }),
    removePerson(two, first, 'keep', { type: 'admin', id: second }),
  ])
  expect(settled.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
  const left = settled[0]?.status === 'fulfilled' ? first : second
  for (const by of [left, randomUUID()])
    await expect(removePerson(one, left, 'keep', { type: 'admin', id: by })).rejects.toMatchObject({
      code: 'CONFLICT',
      remedy: expect.any(String) as string,
    })
})

test('a deletion whose node has died is finished by the others, each part once; without the log nothing is deleted', async () => {
  const { one, two } = nodes
  const { db } = one.store
  const admin = { type: 'admin', id: await addPerson(one, ['admins']) } as const
  const [session, lease] = [
    await addSession(one, hostId),
    await addLease(one, new Date(Date.now() + 900_000)),
  ]
  const leased = (await leaseById(db, lease))!
  const { person_id: personId } = (await sessionById(db, session))!

  await sql`alter table audit_entries add constraint refuses check (false) not valid`.execute(db)
  await expect(removePerson(one, personId, 'keep', admin)).rejects.toThrow(/refuses/)
  await expect(removeWorkspace(one, 'desk', 'keep', admin)).rejects.toThrow(/refuses/)
  await sql`alter table audit_entries drop constraint refuses`.execute(db)
  expect(await finishDeletions(two)).toBe(0)
  expect(await personById(db, personId)).toMatchObject({ disabled: false })

  // Nothing runs by itself here: as if the node had died right after the mark.
  await removePerson(one, personId, 'keep', admin)
  await removePerson(one, leased.person_id, 'keep', admin)
  expect((await sessionById(db, session))?.state).toBe('ready')
  await Promise.all([finishDeletions(one), finishDeletions(two)])
  expect(await finishDeletions(two)).toBe(0)
  expect((await sessionById(db, session))?.state).toBe('ended')
  expect((await leaseById(db, lease))?.state).toBe('withdrawn')
  const ended = (await nodes.entries('session-ended')).filter(({ subject }) =>
    [session, leased.session_id].includes(subject ?? ''),
  )
  expect(ended).toHaveLength(2)
  for (const { actor, data } of ended)
    expect({ actor, data }).toMatchObject({ actor: admin, data: { code: 'SESSION_PERSON_DELETED' } })
})

test('nodes of a new site that start together furnish it once', async () => {
  await using fresh = await openNodes()
  await Promise.all([fresh.one, fresh.two].map(furnish))
  for (const kind of ['policy-activated', 'admin-change'] as const)
    expect(await fresh.entries(kind)).toHaveLength(1)
})

test('what a device is to discard is asked for once, in the log before the device hears of it, and noted once', async () => {
  const { one, two } = nodes
  const { db } = one.store
  const admin = { type: 'admin', id: await addPerson(one, ['admins']) } as const
  const id = await addLease(one, new Date(Date.now() + 900_000))
  await db
    .updateTable('leases')
    .set({ overlay: 'keep', overlay_at_start: 'keep', key_released_at: new Date() })
    .where('id', '=', id)
    .execute()
  const { person_id: personId, endpoint_id: endpointId } = (await leaseById(db, id))!
  await finishLease(one, id, { code: 'LEASE_ENDED', reason: '' }, system)
  await removePerson(one, personId, 'discard', admin)
  expect(await discardsOf(two, endpointId)).toEqual([])
  await Promise.all([finishDeletions(one), finishDeletions(two)])
  const written = await discardsOf(two, endpointId)
  expect(written).toEqual([{ personId }])
  await Promise.all([one, two, one].map((node) => noteDiscarded(node, endpointId, written)))
  expect(await discardsOf(one, endpointId)).toEqual([])
  for (const [kind, actor] of [
    ['discard-asked', admin],
    ['discarded', { type: 'endpoint', id: endpointId }],
  ] as const) {
    const told = (await nodes.entries(kind)).filter(({ data }) => JSON.stringify(data).includes(personId))
    expect(told).toMatchObject([{ actor, data: { person: personId, endpoint: endpointId } }])
  }
})

test('what began while its workspace was deleted ends, too', async () => {
  const { one, signal } = nodes
  const { db } = one.store
  await writeWorkspace(db, { ...(await workspaceById(db, 'desk'))!, id: 'late' }, 1)
  const admin = { type: 'admin', id: await addPerson(one, ['admins']) } as const
  await removeWorkspace(one, 'late', 'keep', admin)
  await finishDeletions(one)
  const session = await addSession(one, hostId, { workspace_id: 'late' })
  const told: string[] = []
  const off = one.hints.on(({ topic }) => told.push(topic))
  void watchSessions(one, signal)
  // As every launch asks for in the end.
  await decideAgain(one, 'sweep', { sessionId: session })
  await expect.poll(() => told, { timeout: 20_000 }).toContain('deleted')
  off()
  await finishDeletions(one)
  expect((await sessionById(db, session))?.end).toMatchObject({ code: 'SESSION_WORKSPACE_DELETED' })
})

test('a demo account that was deleted does not come back with its well-known password at the next start', async () => {
  await using empty = await openNodes()
  const { one, two } = empty
  await addDemoContent(one)
  const ada = (await personByLogin(one.store.db, 'ada'))!
  await removePerson(one, ada.id, 'keep', { type: 'admin', id: await addPerson(one, ['admins']) })
  await addDemoContent(two)
  expect(await personByLogin(one.store.db, 'ada')).toBeUndefined()
})

test('a site of people at work that is started as a demo gets no admin whose password everybody knows', async () => {
  const { one } = nodes
  await addPerson(one, ['admins'])
  await addDemoContent(one)
  expect(await personByLogin(one.store.db, 'ada')).toBeUndefined()
})

/** The only piece of what was written on a version. */
function pieceOf(version: string): string {
  return version.repeat(64)
}
