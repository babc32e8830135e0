import { access, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Channel, generateX25519 } from '#core/channel/index.ts'
import { Rig, until } from './host.rig.ts'
import { RfbPerson } from './rfb-person.rig.ts'

let rig: Rig
beforeAll(async () => {
  rig = await Rig.start()
})
afterAll(async () => rig[Symbol.asyncDispose]())

/** Types a command until it has been done: a shell that starts may miss the first keys. */
async function typeUntilFile(viewer: RfbPerson, name: string, word: string): Promise<string> {
  const file = join(rig.homesDir, rig.account, name)
  for (let tries = 0; ; tries++) {
    if (tries % 25 === 0) viewer.type(`echo ${word} > ${name}\n`)
    const text = await readFile(file, 'utf8').catch(() => '')
    if (text !== '') return text
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

async function openViewer(sessionId: string): Promise<RfbPerson> {
  const viewer = new RfbPerson((await rig.invite(sessionId)).open())
  await viewer.ready
  return viewer
}

test('a person with a ticket types into the session, and it happens in their home', async () => {
  const session = rig.add()
  const person = await rig.invite(session.id)
  expect(await rig.untilReported(session.id, 'ready')).toMatchObject({ connected: false })

  const viewer = new RfbPerson(person.open())
  await viewer.ready
  await until(() => viewer.notices.length > 0)
  expect(viewer.notices).toMatchObject([{ state: 'ready', rights: session.rights }])
  expect(await typeUntilFile(viewer, 'said', 'hello')).toBe('hello\n')
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

test('rights change in place: input and clipboard are cut live and given back', async () => {
  const session = rig.add()
  const viewer = await openViewer(session.id)
  await typeUntilFile(viewer, 'before', 'x')

  const copyOut = (word: string): void =>
    viewer.type(`printf '\\033]52;c;${Buffer.from(word).toString('base64')}\\a'\n`)
  rig.change(session.id, {
    rights: ['clipboard-in'],
    notice: { ...session.notice, rights: ['clipboard-in'] },
  })
  await until(() => viewer.notices.length === 2)
  expect(viewer.notices.at(-1)?.rights).toEqual(['clipboard-in'])
  viewer.type('echo x > while\n')
  copyOut('secret')
  viewer.copy('what follows the keys')
  await until(() => rig.said.some(({ kind }) => kind === 'clipboard'))
  rig.change(session.id, { rights: session.rights, notice: session.notice })
  await until(() => viewer.notices.length === 3)
  await typeUntilFile(viewer, 'after', 'x')
  await expect(access(join(rig.homesDir, rig.account, 'while'))).rejects.toThrow('ENOENT')
  expect(viewer.clipboard).toEqual([])
  expect(viewer.closedBy).toBeUndefined()
  rig.drop(session.id)
  await until(() => rig.reported.length === 0)
})
