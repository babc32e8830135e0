import { randomBytes, randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import type { RfbPerson } from '#apps/host/rfb-person.rig.ts'
import { createTicket } from '#core/channel/index.ts'
import {
  anyGateway,
  closingOf,
  connect,
  homeFile,
  homeNames,
  type Invitation,
  launch,
  newKey,
  openWorkspace,
  typeUntil,
  view,
  watchFor,
} from '../hosted-person.rig.ts'
import { type RunningSite, type SignedInClient, startSite, until } from '../running-site.rig.ts'
import { EvilGateway, type Way } from './evil-gateway.rig.ts'
import { readable, secret, typed } from './secrets.rig.ts'

let site: RunningSite
let evil: EvilGateway
let nora: SignedInClient
let carl: SignedInClient
/** Made before everything else, used after everything else. */
let stale: Invitation
beforeAll(async () => {
  site = await startSite()
  evil = await EvilGateway.start(site)
  ;[nora, carl] = await Promise.all([site.signIn('nora'), site.signIn('carl')])
  stale = await launch(carl, 'editor')
})
afterAll(async () => {
  await evil?.[Symbol.asyncDispose]()
  await site?.[Symbol.asyncDispose]()
})

/** What a gateway can do to a message. `before` holds the earlier messages of both ways. */
type Attack = (message: Buffer, before: Before) => readonly Buffer[]
interface Before {
  readonly same: readonly Buffer[]
  readonly other: readonly Buffer[]
}
const attacks: Readonly<Record<string, Attack>> = {
  'flips a bit': (message) => {
    const changed = Buffer.from(message)
    changed[randomInt(changed.length)]! ^= 1 << randomInt(8)
    return [changed]
  },
  'flips a bit of the tag': (message) => {
    const changed = Buffer.from(message)
    changed[changed.length - 1]! ^= 1
    return [changed]
  },
  'cuts the end off': (message) => [message.subarray(0, -1)],
  'adds a byte': (message) => [Buffer.concat([message, Buffer.alloc(1)])],
  'empties it': () => [Buffer.alloc(0)],
  'drops it': () => [],
  'sends it twice': (message) => [message, message],
  'sends an old one before it': (message, { same }) => [same.at(-1)!, message],
  'sends an old one in its place': (_message, { same }) => [same.at(-2)!],
  'reflects what came from the other side': (message, { other }) => [other.at(-1)!, message],
  'starts the conversation again': (message, { same }) => [same[0]!, message],
  'invents one': (message) => [randomBytes(message.length), message],
}

test('whatever a gateway does to a message, exactly what was typed arrives, and it reads nothing of it', async () => {
  const colour = randomBytes(3)
  const first = await openWorkspace(site, nora, 'terminal', (invitation) => evil.dial(invitation))
  await typeUntil(first.viewer, 'touch ready', async () => isThere('ready'))
  const seesColour = watchFor(first.viewer, colour)
  first.viewer.type(`printf '\\033]11;#${colour.toString('hex')}\\007'; cat > typed\n`)
  await until(async () => (await isThere('typed')) && seesColour(), 'the screen has its colour')
  first.viewer.channel.close('left')

  const words: string[] = []
  const tickets: string[] = []
  for (const [name, attack] of Object.entries(attacks)) {
    for (const way of ['up', 'down'] as const) {
      const { viewer, delivery } = await openWorkspace(site, nora, 'terminal', (one) => evil.dial(one))
      const mine = Array.from({ length: 6 }, () => randomBytes(12).toString('hex'))
      viewer.type(`${mine.slice(0, 2).join('\n')}\n`)
      await until(() => typedHas(mine[1]!), `${name}, ${way}: what came before the attack arrives`)
      const struck = strikeOnce(attack, way)
      // Keys go up, and what they change on the screen comes down.
      viewer.type(`${mine.slice(2, 4).join('\n')}\n`)
      await until(() => struck(), `${name}, ${way}: the attack meets a message`)
      viewer.type(`${mine.slice(4).join('\n')}\n`)
      await until(() => typedHas(mine[5]!), `${name}, ${way}: what came after the attack arrives`)
      expect(viewer.channel.state, `${name}, ${way}`).not.toBe('closed')
      viewer.channel.close('left')
      words.push(...mine)
      tickets.push(delivery.ticket)
    }
  }
  expect(await homeFile(site, 'nora', 'typed')).toBe(words.map((word) => `${word}\n`).join(''))

  expect(evil.seen.length).toBeGreaterThan(500_000)
  const pixel = Buffer.from([...colour.toReversed(), 0])
  expect(
    readable(evil.seen, [
      ...words.flatMap((word) => [secret('a word', word), typed('a word', word.slice(0, 3))]),
      ...tickets.map((ticket) => secret('a ticket', Buffer.from(ticket, 'base64url'))),
      secret('the protocol', 'RFB 003.008'),
      secret('the screen', Buffer.concat(Array.from({ length: 4 }, () => pixel))),
    ]),
  ).toEqual([])
}, 240_000)

test('a handshake that a gateway changes opens nothing and costs nobody the ticket', async () => {
  for (const way of ['up', 'down'] as const) {
    const invitation = await launch(nora, 'terminal')
    const struck = strikeOnce(attacks['flips a bit of the tag']!, way)
    const channel = connect(invitation, evil.dial(invitation))
    if (way === 'up') {
      expect(await closingOf(channel)).toBe('CHANNEL_REFUSED')
      const again = await view(connect(invitation, evil.dial(invitation)))
      again.channel.close('left')
    } else {
      // The client believes no reply but the host's, and asks for it again.
      const viewer = await view(channel)
      viewer.channel.close('left')
    }
    expect(struck()).toBe(true)
  }
})

test('two people whose connections are swapped meet only their own sessions', async () => {
  const people = [
    { login: 'nora', client: nora },
    { login: 'carl', client: carl },
  ]
  const open = await Promise.all(
    people.map(async ({ login, client }) => {
      const { viewer } = await openWorkspace(site, client, 'terminal', (one) => evil.dial(one))
      return { login, viewer, words: Array.from({ length: 9 }, () => randomBytes(8).toString('hex')) }
    }),
  )
  const [one, other] = evil.wires.slice(-2)
  for (const { login, viewer } of open) {
    if (login === 'nora') endOfFile(viewer)
    await typeUntil(viewer, 'touch settled', async () => isThere('settled', login))
    viewer.type('cat > swapped\n')
    await until(async () => isThere('swapped', login), `${login} writes`)
  }
  const say = async (from: number, to: number): Promise<void> => {
    for (const { viewer, words } of open) viewer.type(`${words.slice(from, to).join('\n')}\n`)
    if (from === 3) await sleep(300)
    else
      for (const { login, words } of open)
        await until(
          async () => (await homeFile(site, login, 'swapped')).includes(words[to - 1]!),
          `${login}: ${to} words arrive`,
        )
  }
  await say(0, 3)
  evil.cross(one!, other!)
  await say(3, 6)
  await say(6, 9)
  for (const { login, words, viewer } of open) {
    expect(await homeFile(site, login, 'swapped')).toBe(words.map((word) => `${word}\n`).join(''))
    endOfFile(viewer)
    await typeUntil(viewer, 'touch unswapped', async () => isThere('unswapped', login))
    viewer.channel.close('left')
  }
})

test('a gateway that leads a person to another host or session opens nothing there', async () => {
  const admin = await site.signIn('ada')
  const drain = async (id: string, draining: boolean): Promise<unknown> =>
    admin.send('POST', `/admin/hosts/${id}/drain`, { draining }, z.unknown())
  const here = await launch(nora, 'editor')
  const hostId = here.delivery.session.host.id
  await drain(hostId, true)
  const elsewhere = await launch(admin, 'terminal')
  await drain(hostId, false)
  expect(elsewhere.delivery.session.host.id).not.toBe(hostId)

  evil.routeToken = () => elsewhere.delivery.routes[0]!.token
  expect(await closingOf(connect(here, evil.dial(here)))).toBe('CHANNEL_REFUSED')
  evil.routeToken = (token) => token
  // Both tickets are as good as before.
  for (const invitation of [here, elsewhere]) {
    const viewer = await view(connect(invitation, evil.dial(invitation)))
    viewer.channel.close('left')
  }
})

test('an admission that was stolen opens nothing without the ticket, and a ticket nothing without its key', async () => {
  const mine = await launch(nora, 'terminal')
  const theirs = await launch(carl, 'terminal')
  const { keyPair } = await newKey()
  const attempts = {
    'a ticket that was made up': { ticket: createTicket() },
    'the right ticket with another key': { keyPair },
    "somebody else's ticket": { ticket: Buffer.from(theirs.delivery.ticket, 'base64url') },
    'the ticket for another session': { context: Buffer.from(theirs.delivery.context, 'base64url') },
  }
  for (const [what, change] of Object.entries(attempts))
    expect(await closingOf(connect(mine, evil.dial(mine), change)), what).toBe('CHANNEL_REFUSED')
  // None of it has burnt the tickets of those who may use them.
  for (const invitation of [mine, theirs]) {
    const viewer = await view(connect(invitation, evil.dial(invitation)))
    expect(viewer.channel.state).toBe('open')
    viewer.channel.close('left')
  }
})

test('a ticket opens once, and what a gateway has recorded opens nothing again', async () => {
  const { viewer, delivery, keyPair } = await openWorkspace(site, nora, 'terminal', (one) => evil.dial(one))
  const wire = evil.wires.at(-1)!
  await typeUntil(viewer, 'echo once >> counted; touch counting', async () => isThere('counting'))
  const counted = await homeFile(site, 'nora', 'counted')

  expect(await closingOf(connect({ delivery, keyPair }, evil.dial({ delivery, keyPair })))).toBe(
    'CHANNEL_REFUSED',
  )
  const replay = evil.openUpstream(delivery.routes[0]!.token)
  const answers: Buffer[] = []
  replay.on('message', (data: Buffer) => answers.push(data))
  const ended = new Promise((resolve) => replay.once('close', resolve))
  await new Promise((resolve) => replay.once('open', resolve))
  for (const { way, message } of wire.log.slice()) if (way === 'up') replay.send(message)
  await ended
  // Version 1, status 1: no such ticket.
  expect(Buffer.concat(answers)).toEqual(Buffer.from([1, 1]))
  await typeUntil(viewer, 'touch counted-all', async () => isThere('counted-all'))
  expect(await homeFile(site, 'nora', 'counted')).toBe(counted)
  viewer.channel.close('left')
})

test('a ticket that is used too late opens nothing', async () => {
  const route = await launch(carl, 'editor')
  const late = { ...stale, delivery: { ...stale.delivery, routes: route.delivery.routes } }
  const issuedAt = Date.parse(stale.delivery.session.startedAt)
  await sleep(Math.max(0, issuedAt + 40_000 - Date.now()))
  expect(await closingOf(connect(late, anyGateway(site.address, late)))).toBe('CHANNEL_REFUSED')
})

/** Meets the next message that goes this way, once. */
function strikeOnce(attack: Attack, way: Way): () => boolean {
  let done = false
  evil.meddle = (message, itsWay, wire) => {
    if (done || itsWay !== way) return [message]
    done = true
    const before = wire.log.slice(0, -1)
    return attack(message, {
      same: before.filter((one) => one.way === way).map((one) => one.message),
      other: before.filter((one) => one.way !== way).map((one) => one.message),
    })
  }
  return () => done
}

/** Ctrl-D: ends what writes down what is typed. */
function endOfFile(viewer: RfbPerson): void {
  viewer.press(0x64, 0xffe3)
}

async function isThere(name: string, login = 'nora'): Promise<boolean> {
  return (await homeNames(site, login)).includes(name)
}

async function typedHas(word: string): Promise<boolean> {
  return (await homeFile(site, 'nora', 'typed')).includes(word)
}
