import { expect, test } from 'vitest'
import { decodeUtf8, encodeHex, encodeUtf8 } from '#core/bytes/index.ts'
import {
  type Channel,
  createTicket,
  exportPublic,
  generateX25519,
  seal,
  ticketId,
  ticketPsk,
} from '#core/channel/index.ts'
import { Tickets } from './tickets.ts'

const hostId = '6f2c3f3e-4a9e-4a6f-8f0a-2a0d3f1f3b11'
const sessionId = 'b3a1c1de-6f0b-4c52-9d3c-5be0b2a0d001'
const start = 1_000_000_000_000

async function arrange() {
  const keyPair = await generateX25519()
  const client = await exportPublic((await generateX25519()).publicKey)
  const ticket = createTicket()
  const id = await ticketId(ticket)
  const sealed = await seal(
    await exportPublic(keyPair.publicKey),
    Buffer.concat([await ticketPsk(ticket), client]),
    Buffer.concat([id, encodeUtf8(sessionId)]),
  )
  const entry = {
    id: encodeHex(id),
    sessionId,
    sealed: Buffer.from(sealed).toString('base64url'),
    expiresAt: new Date(start + 3_600_000).toISOString(),
  }
  const world = {
    now: start,
    isReady: true,
    told: [] as string[],
    accepted: [] as string[],
    refusedWith: [] as unknown[],
  }
  const tickets = new Tickets({
    keyPair,
    hostId,
    now: () => world.now,
    isReady: () => world.isReady,
    accepted: (session) => void world.accepted.push(session),
    tell: ({ kind }) => void world.told.push(kind),
    refused: (_, error) => void world.refusedWith.push(error),
  })
  return { tickets, world, entry, id, client, psk: await ticketPsk(ticket) }
}

const channel = {} as Channel

test('a ticket names the holder, and is bound to host and session', async () => {
  const { tickets, entry, id, client, psk } = await arrange()
  await tickets.desire([entry])
  const redeemed = tickets.redeem(id)
  expect(redeemed?.psk).toEqual(psk)
  expect(redeemed?.clientKey).toEqual(client)
  expect(decodeUtf8(redeemed?.context ?? new Uint8Array())).toBe(`${hostId}\n${sessionId}`)
})

test('a ticket opens once, also when it is listed, dropped and listed again', async () => {
  const { tickets, world, entry, id } = await arrange()
  await tickets.desire([entry])
  tickets.redeem(id)?.accepted(channel)
  expect(world.accepted).toEqual([sessionId])
  for (const listed of [[entry], [], [entry]]) {
    await tickets.desire(listed)
    expect(tickets.redeem(id)).toBeUndefined()
  }
})

test('naming a ticket burns nothing', async () => {
  const { tickets, entry, id } = await arrange()
  await tickets.desire([entry])
  expect(tickets.redeem(id)).toBeDefined()
  expect(tickets.redeem(id)).toBeDefined()
})

test('a ticket opens nothing before its session is ready, nor 30 s after it arrived', async () => {
  const { tickets, world, entry, id } = await arrange()
  await tickets.desire([entry])
  world.isReady = false
  expect(tickets.redeem(id)).toBeUndefined()
  world.isReady = true
  world.now = start + 29_999
  expect(tickets.redeem(id)).toBeDefined()
  world.now = start + 30_000
  expect(tickets.redeem(id)).toBeUndefined()
})

test('a ticket for another host or session is refused, and unsealed only once', async () => {
  const { tickets, world, entry, id } = await arrange()
  const swapped = { ...entry, sessionId: hostId }
  await tickets.desire([swapped])
  await tickets.desire([swapped])
  expect(tickets.redeem(id)).toBeUndefined()
  expect(world.refusedWith).toHaveLength(1)
})

test('a ticket that comes when it is over is refused with the way to set it right, and opens nothing', async () => {
  const { tickets, world, entry, id } = await arrange()
  await tickets.desire([{ ...entry, expiresAt: new Date(start - 1000).toISOString() }])
  tickets.arm()
  expect(world.told).toEqual([])
  expect(tickets.redeem(id)).toBeUndefined()
  expect(world.refusedWith).toMatchObject([
    { code: 'HOST_TICKET_EXPIRED', remedy: expect.stringContaining('clock') },
  ])
})

test('what the site must know is told once on each connection', async () => {
  const { tickets, world, entry, id } = await arrange()
  world.isReady = false
  await tickets.desire([entry])
  tickets.arm()
  expect(world.told).toEqual([])
  world.isReady = true
  tickets.arm()
  tickets.arm()
  expect(world.told).toEqual(['armed'])
  tickets.redeem(id)?.accepted(channel)
  expect(world.told).toEqual(['armed', 'redeemed'])
  tickets.reconnected()
  tickets.arm()
  tickets.arm()
  expect(world.told).toEqual(['armed', 'redeemed', 'redeemed'])
})
