import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { deflateSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { HostToSite } from '#core/agent/messages.ts'
import { DisplayError, type DisplayServer } from '#core/broker/display.ts'
import { type Channel, defaultReplayBytes, generateX25519 } from '#core/channel/index.ts'
import { desiredSession, Rig, until } from './host.rig.ts'
import { openViewer, RfbPerson, typeUntilFile } from './rfb-person.rig.ts'

let rig: Rig
beforeAll(async () => {
  rig = await Rig.start()
})
afterAll(async () => rig[Symbol.asyncDispose]())

test('a person with a ticket types into the session, and it happens in their home', async () => {
  const session = rig.add()
  const person = await rig.invite(session.id)
  expect(await rig.untilReported(session.id, 'ready')).toMatchObject({ connected: false })

  const viewer = new RfbPerson(person.open())
  await viewer.ready
  await until(() => viewer.notices.length > 0)
  expect(viewer.notices).toMatchObject([{ state: 'ready', rights: session.rights }])
  expect(await typeUntilFile(rig, viewer, 'said', 'hello')).toBe('hello\n')
  await until(() => rig.reported.find(({ id }) => id === session.id)?.connected)
  await until(() => rig.reported.find(({ id }) => id === session.id)?.lastInputAt)
  expect(rig.said).toContainEqual({ kind: 'redeemed', ticketId: person.ticketId, sessionId: session.id })

  const again = new RfbPerson(person.open())
  await until(() => again.closedBy)
  expect(again.closedBy).toBe('CHANNEL_REFUSED')
  expect(viewer.closedBy).toBeUndefined()

  rig.drop(session.id)
  await until(() => viewer.closedBy)
  expect(viewer.closedBy).toBe('SESSION_ENDED')
  expect(viewer.notices.at(-1)).toMatchObject({ state: 'ended', end: { code: 'SESSION_ENDED' } })
  await until(() => rig.reported.length === 0)
})

async function expectRefused(channel: Channel): Promise<void> {
  const viewer = new RfbPerson(channel)
  expect(await until(() => viewer.closedBy)).toBe('CHANNEL_REFUSED')
}

test('a late, foreign or swapped ticket opens nothing, and one for another key neither', async () => {
  const session = rig.add()
  const other = rig.add()
  await rig.untilReported(session.id, 'ready')
  await rig.untilReported(other.id, 'ready')
  await expectRefused((await rig.issue(session.id, { expiresAt: Date.now() - 1 })).open())

  const late = await rig.invite(session.id)
  rig.skew = 30_001
  await expectRefused(late.open())
  rig.skew = 0

  const farAway = await rig.issue(session.id, { expiresAt: Date.now() + 3_600_000 })
  rig.skew = 30_001
  await expectRefused(farAway.open())
  rig.skew = 0

  await expectRefused((await rig.issue(session.id, { hostKey: new Uint8Array(32).fill(9) })).open())
  await expectRefused((await rig.issue(session.id, { sessionId: other.id })).open())
  const stolen = await rig.invite(session.id)
  await expectRefused(stolen.open({ keyPair: await generateX25519() }))
  // The thief's try has not burnt it.
  const viewer = new RfbPerson(stolen.open())
  await viewer.ready
  rig.desire({ sessions: [], tickets: [] })
  await until(() => rig.reported.length === 0)
})

test('rights change in place: input is cut live and given back', async () => {
  const session = rig.add()
  const viewer = await openViewer(rig, session.id)
  await typeUntilFile(rig, viewer, 'before', 'x')

  rig.change(session.id, {
    rights: ['clipboard-in'],
    notice: { ...session.notice, rights: ['clipboard-in'] },
  })
  await until(() => viewer.notices.length === 2)
  expect(viewer.notices.at(-1)?.rights).toEqual(['clipboard-in'])
  viewer.type('echo x > while\n')
  viewer.copy('what follows the keys')
  await until(() => rig.said.some((one) => one.kind === 'clipboard' && one.direction === 'in' && one.passed))

  rig.change(session.id, { rights: session.rights, notice: session.notice })
  await until(() => viewer.notices.length === 3)
  await typeUntilFile(rig, viewer, 'after', 'x')
  await expect(access(join(rig.homesDir, rig.account, 'while'))).rejects.toThrow('ENOENT')
  expect(viewer.closedBy).toBeUndefined()
  rig.drop(session.id)
  await until(() => rig.reported.length === 0)
})

test('the clipboard out of the session is cut live and given back', async () => {
  const session = rig.add()
  const viewer = await openViewer(rig, session.id)
  await typeUntilFile(rig, viewer, 'started', 'x')
  const copyInside = async (word: string): Promise<void> => {
    viewer.type(`printf ${word} | xclip -selection clipboard; touch ${word}\n`)
    await until(() =>
      access(join(rig.homesDir, rig.account, word)).then(
        () => true,
        () => false,
      ),
    )
  }
  await copyInside('one')
  await until(() => viewer.clipboard.includes('one'))

  rig.change(session.id, { rights: ['input', 'clipboard-in'] })
  await copyInside('two')
  rig.change(session.id, { rights: session.rights })
  // The display server's own switch, behind the filter, follows in its own time.
  for (let count = 0; !viewer.clipboard.includes(`back ${count}`); count += 1) {
    viewer.type(`printf 'back ${count + 1}' | xclip -selection clipboard\n`)
    await delay(500)
  }
  expect(viewer.clipboard).not.toContain('two')
  rig.drop(session.id)
  await until(() => rig.reported.length === 0)
})

test('a person is told of a copy that is too large to leave the session', async () => {
  const session = rig.add()
  rig.change(session.id, { obligations: { ...session.obligations, clipboardMaxBytes: 4 } })
  const viewer = await openViewer(rig, session.id)
  await typeUntilFile(rig, viewer, 'started', 'x')
  viewer.type('printf fits | xclip -selection clipboard\n')
  await until(() => viewer.clipboard.includes('fits'))
  expect(viewer.copiesKept).toBe(0)
  viewer.type('printf large | xclip -selection clipboard\n')
  await until(() => viewer.copiesKept > 0)
  expect(viewer.clipboard).not.toContain('large')
  rig.drop(session.id)
  await until(() => rig.reported.length === 0)
})

test('a frozen session shows and takes nothing, and goes on when it is thawed', async () => {
  const session = rig.add()
  const viewer = await openViewer(rig, session.id)
  await typeUntilFile(rig, viewer, 'warm', 'x')
  const end = { code: 'TRUST_LOST', reason: 'Encryption is off', unlocks: [], at: session.endsAt }
  rig.change(session.id, { frozen: true, notice: { ...session.notice, state: 'ending', end } })
  await until(() => viewer.notices.at(-1)?.end?.code === 'TRUST_LOST')
  const pictures = viewer.pictures
  viewer.type('echo x > frozen\n')
  viewer.copy('secret')
  await until(() => rig.said.some((one) => one.kind === 'clipboard' && one.direction === 'in' && !one.passed))
  expect(viewer.pictures).toBe(pictures)

  rig.change(session.id, { frozen: false, notice: session.notice })
  await typeUntilFile(rig, viewer, 'thawed', 'x')
  await until(() => viewer.pictures > pictures)
  await expect(access(join(rig.homesDir, rig.account, 'frozen'))).rejects.toThrow('ENOENT')
  rig.drop(session.id)
  await until(() => rig.reported.length === 0)
})

test('a newer viewer takes the place of the older', async () => {
  const session = rig.add()
  const first = await openViewer(rig, session.id)
  const second = await openViewer(rig, session.id)
  expect(await until(() => first.closedBy)).toBe('SESSION_OPENED_ELSEWHERE')
  await typeUntilFile(rig, second, 'second', 'x')
  await until(() => rig.reported.find(({ id }) => id === session.id)?.connected === true)
  rig.drop(session.id)
  await until(() => rig.reported.length === 0)
})

test('a session that nobody uses ends, after a warning, and is reported until the site has seen it', async () => {
  const session = rig.add()
  const viewer = await openViewer(rig, session.id)
  // A minute before its person is told, and a key keeps it.
  rig.skew = 29 * 60_000
  await until(() => viewer.notices.at(-1)?.end?.code === 'SESSION_IDLE')
  viewer.press(0xffe1)
  await until(() => viewer.notices.at(-1)?.end === undefined)
  expect(viewer.closedBy).toBeUndefined()
  rig.skew = 59 * 60_000
  expect(await until(() => viewer.closedBy)).toBe('SESSION_IDLE')
  rig.skew = 0
  expect(viewer.notices.at(-1)).toMatchObject({ state: 'ended', end: { code: 'SESSION_IDLE' } })
  expect(await rig.untilReported(session.id, 'ended')).toMatchObject({ end: { code: 'SESSION_IDLE' } })
  rig.drop(session.id)
  await until(() => rig.reported.length === 0)
})

test('a session ends with its program, and says so', async () => {
  const session = rig.add()
  const viewer = await openViewer(rig, session.id)
  await typeUntilFile(rig, viewer, 'alive', 'x')
  viewer.type('exit\n')
  expect(await until(() => viewer.closedBy)).toBe('SESSION_PROGRAM_ENDED')
  expect(await rig.untilReported(session.id, 'ended')).toMatchObject({
    end: { code: 'SESSION_PROGRAM_ENDED' },
  })
  rig.drop(session.id)
})

test('a session that cannot start is reported with the reason', async () => {
  const session = rig.add({ account: 'root' })
  expect(await rig.untilReported(session.id, 'ended')).toMatchObject({
    end: { code: 'DISPLAY_ACCOUNT_FOREIGN' },
  })
  rig.drop(session.id)
})

test('a viewer whose every word is dear keeps nobody else on this host waiting for all of them', async () => {
  const session = rig.add()
  const other = await openViewer(rig, rig.add().id)
  const greedy = await openViewer(rig, session.id)
  // Some three hundred bytes that unpack to as many as may be copied at once, in as many copies as a channel holds.
  const text = Buffer.alloc(session.obligations.clipboardMaxBytes)
  text.writeUInt32BE(text.length - 4)
  const packed = deflateSync(text)
  const head = Buffer.from([6, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 1])
  head.writeInt32BE(-(4 + packed.length), 4)
  const copies = Math.floor(defaultReplayBytes / (head.length + packed.length))
  greedy.channel.send(Buffer.concat(Array<Buffer>(copies).fill(Buffer.concat([head, packed]))))
  await typeUntilFile(rig, other, 'meanwhile', 'x')
  const told = () =>
    rig.said.flatMap((one) => (one.kind === 'clipboard' && one.sessionId === session.id ? [one.bytes] : []))
  // They are told of once a second.
  const before = told().length
  await until(() => told().length > before)
  expect(told().reduce((sum, bytes) => sum + bytes, 0)).toBeLessThan(copies * (text.length - 4))
  rig.desire({ sessions: [] })
  await until(() => rig.reported.length === 0)
})

test('a viewer that breaks the protocol is dropped, and the session goes on', async () => {
  const session = rig.add()
  const viewer = await openViewer(rig, session.id)
  viewer.channel.send(Uint8Array.of(99))
  expect(await until(() => viewer.closedBy)).toBe('RFB_UNKNOWN_MESSAGE')
  await typeUntilFile(rig, await openViewer(rig, session.id), 'later', 'x')
  rig.drop(session.id)
  await until(() => rig.reported.length === 0)
})

test('a viewer that floods a display is held back, and no other session notices', async () => {
  const [session, other] = [rig.add(), rig.add()]
  const viewer = await openViewer(rig, session.id)
  const display = await rig.displayServerOf(session.id)
  process.kill(display, 'SIGSTOP')
  // Far less than is sent, many times over: what arrives is not taken, so it is not acknowledged either.
  const move = new Uint8Array(60_000).map((_, index) => (index % 6 === 0 ? 5 : 0))
  let sent = 0
  while (viewer.channel.send(move)) sent += move.length
  expect(sent).toBeLessThan(defaultReplayBytes + move.length)
  const waiting = new AbortController()
  const drained = viewer.channel.drained(waiting.signal).then(
    () => true,
    () => false,
  )

  await typeUntilFile(rig, await openViewer(rig, other.id), 'other', 'x')
  waiting.abort()
  expect(await drained).toBe(false)
  process.kill(display, 'SIGCONT')
  await viewer.channel.drained()
  await typeUntilFile(rig, viewer, 'flooded', 'x')
  rig.desire({ sessions: [] })
  await until(() => rig.reported.length === 0)
})

test('why a session could not start is told whole, however its log was cut', async () => {
  const message = `${'x'.repeat(498)}\0\u{1F680}`
  const displays: DisplayServer = {
    warm: 0,
    prelaunch: () => undefined,
    discard: async () => undefined,
    start: () => Promise.reject(new DisplayError('DISPLAY_START_FAILED', message)),
    adopt: async () => [],
    [Symbol.asyncDispose]: async () => undefined,
  }
  const told: HostToSite[] = []
  await using failing = await Rig.start({ displays, tell: (one) => void told.push(one) })
  failing.desire({ sessions: [desiredSession(failing.account)] })
  const end = await until(
    () => told.flatMap((one) => (one.kind === 'report' ? one.sessions : [])).find((one) => one.end)?.end,
  )
  expect(end.reason).toBe(`${'x'.repeat(498)} \uFFFD`)
})
