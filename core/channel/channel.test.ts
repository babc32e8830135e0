import * as fc from 'fast-check'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { concatBytes, decodeUtf8, encodeHex, encodeUtf8 } from '#core/bytes/index.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { fastScheduler, ManualScheduler, type Tamper, type Wire, wire } from './fake-network.fixture.ts'
import { decodeFrame } from './frame.ts'
import {
  type Channel,
  type ChannelHost,
  type ConnectOptions,
  type CryptoKeyPair,
  connectChannel,
  createChannelHost,
  createTicket,
  exportPublic,
  generateX25519,
  type Redeemed,
  type Scheduler,
  ticketId,
  ticketPsk,
} from './index.ts'
import { decodeOpen, decodeReply } from './open-message.ts'
import { listen } from './transport.ts'

const context = encodeUtf8('host 7, session 9')

/** What one end has seen. */
interface Log {
  readonly data: Uint8Array[]
  readonly notices: string[]
  readonly states: string[]
}

interface Rig {
  readonly client: Channel
  readonly host: ChannelHost
  /** Channels that the host accepted. */
  readonly accepted: { readonly channel: Channel; readonly log: Log }[]
  readonly log: Log
  readonly wires: Wire[]
  readonly redeem: ReturnType<typeof vi.fn>
}

let clientKeys: CryptoKeyPair
let hostKeys: CryptoKeyPair
const rigs: Rig[] = []

beforeEach(async () => {
  clientKeys = await generateX25519()
  hostKeys = await generateX25519()
})

afterEach(() => {
  for (const { client, host } of rigs.splice(0)) {
    client.close('the test is over')
    host.close()
  }
})

function observe(channel: Channel): Log {
  const log: Log = { data: [], notices: [], states: [] }
  channel.onData = (data) => void log.data.push(data.slice())
  channel.onNotice = (notice) => void log.notices.push(decodeUtf8(notice))
  channel.onState = (state, reason) =>
    void log.states.push(reason === undefined ? state : `${state}: ${reason}`)
  return log
}

/** The tamper of each connection in turn; `undefined` is an honest one, `refuse` one that cannot be made. */
async function rig(
  options: {
    readonly tampers?: (dial: number) => Tamper | 'refuse' | undefined
    readonly scheduler?: Scheduler
    readonly ticket?: Uint8Array
    readonly redeemed?: Partial<Redeemed>
    readonly client?: Partial<ConnectOptions>
    readonly resumeMs?: number
    readonly replayBytes?: number
    readonly silent?: boolean
  } = {},
): Promise<Rig> {
  const scheduler = options.scheduler ?? fastScheduler(10)
  const ticket = options.ticket ?? createTicket()
  const tickets = new Map<string, Omit<Redeemed, 'accepted'>>([
    [
      encodeHex(await ticketId(ticket)),
      { psk: await ticketPsk(ticket), clientKey: await exportPublic(clientKeys.publicKey), context },
    ],
  ])
  const accepted: Rig['accepted'] = []
  const redeem = vi.fn((id: Uint8Array): Redeemed | undefined => {
    const name = encodeHex(id)
    const grant = tickets.get(name)
    if (grant === undefined) return undefined
    return {
      ...grant,
      ...options.redeemed,
      accepted(channel) {
        tickets.delete(name)
        accepted.push({ channel, log: observe(channel) })
      },
    }
  })
  const wires: Wire[] = []
  const common = {
    scheduler,
    ...(options.resumeMs !== undefined && { resumeMs: options.resumeMs }),
    ...(options.replayBytes !== undefined && { replayBytes: options.replayBytes }),
  }
  const host = createChannelHost({ keyPair: hostKeys, redeem, ...common })
  const client = connectChannel({
    async dial() {
      const tamper = options.tampers?.(wires.length)
      const made = wire(tamper === 'refuse' ? undefined : tamper)
      wires.push(made)
      if (tamper === 'refuse') throw new Error('no way to the host')
      host.accept(made.host)
      return made.client
    },
    hostKey: await exportPublic(hostKeys.publicKey),
    keyPair: clientKeys,
    ticket,
    context,
    random: () => 0.5,
    ...common,
    ...options.client,
  })
  const made = { client, host, accepted, log: observe(client), wires, redeem }
  rigs.push(made)
  return made
}

async function until(condition: () => boolean): Promise<void> {
  await vi.waitFor(() => expect(condition()).toBe(true), { timeout: 20_000, interval: 1 })
}

function bytesOf(log: Log | undefined): Uint8Array {
  return concatBytes(...(log?.data ?? []))
}

function pattern(length: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => (index * 31 + (index >> 8) * 7 + seed) & 0xff)
}

async function open(made: Rig): Promise<{ readonly channel: Channel; readonly log: Log }> {
  await until(() => made.client.state === 'open' && made.accepted[0]?.channel.state === 'open')
  return made.accepted[0]!
}

test('data and notices reach both ends in order, and both measure the round trip', async () => {
  const made = await rig()
  made.client.send(encodeUtf8('early, '))
  const host = await open(made)
  made.client.send(encodeUtf8('up'))
  made.client.notice(encodeUtf8('from the client'))
  host.channel.send(encodeUtf8('down'))
  host.channel.notice(encodeUtf8('from the host'))
  await until(() => made.log.notices.length === 1 && host.log.notices.length === 1)
  expect(decodeUtf8(bytesOf(host.log))).toBe('early, up')
  expect(decodeUtf8(bytesOf(made.log))).toBe('down')
  expect(host.log.notices).toEqual(['from the client'])
  await until(() => made.client.rttMs !== undefined && host.channel.rttMs !== undefined)
})

test('neither the ticket nor any of the bytes cross the gateway in clear', async () => {
  const ticket = createTicket()
  const made = await rig({ ticket })
  const host = await open(made)
  made.client.send(encodeUtf8('a very secret sentence'))
  await until(() => host.log.data.length > 0)
  const crossed = made.wires.flatMap(({ seen }) => seen.map(({ message }) => encodeHex(message))).join(' ')
  expect(crossed).not.toContain(encodeHex(encodeUtf8('secret')))
  expect(crossed).not.toContain(encodeHex(ticket.subarray(0, 8)))
  expect(crossed).toContain(encodeHex(await ticketId(ticket)))
})

test('megabytes arrive whole, within bounds, while the sender waits for room', async () => {
  const made = await rig({ replayBytes: 256 << 10 })
  const host = await open(made)
  const sent = pattern(3 << 20)
  let waits = 0
  for (let offset = 0; offset < sent.length; offset += 50_000) {
    if (!made.client.send(sent.subarray(offset, offset + 50_000))) {
      waits += 1
      await made.client.drained()
    }
  }
  await until(() => bytesOf(host.log).length === sent.length)
  expect(Buffer.compare(bytesOf(host.log), sent)).toBe(0)
  expect(waits).toBeGreaterThan(3)
})

test('a close brings what was sent before, and its reason', async () => {
  const made = await rig()
  const host = await open(made)
  host.channel.send(pattern(200_000))
  host.channel.close('the session ended')
  await until(() => made.client.state === 'closed')
  expect(bytesOf(made.log).length).toBe(200_000)
  expect(made.log.states.at(-1)).toBe('closed: the session ended')
  expect(host.log.states.at(-1)).toBe('closed: the session ended')
  await expect(made.client.drained()).rejects.toMatchObject({ code: 'CHANNEL_CLOSED' })
  expect(made.client.send(pattern(1))).toBe(false)
})

test('data waits while nobody takes it', async () => {
  const made = await rig()
  const host = await open(made)
  const take = host.channel.onData
  host.channel.onData = null
  made.client.send(encodeUtf8('patience'))
  made.client.notice(encodeUtf8('after it'))
  await new Promise((resolve) => setTimeout(resolve, 30))
  expect(host.log.notices).toEqual([])
  host.channel.onData = take
  await until(() => host.log.notices.length === 1)
  expect(decodeUtf8(bytesOf(host.log))).toBe('patience')
})

test('nothing is put on top of a full transport, and it goes on when there is room', async () => {
  const made = await rig()
  const host = await open(made)
  Object.assign(made.wires[0]!.client, { bufferedAmount: 4 << 20 })
  made.client.send(encodeUtf8('later'))
  await new Promise((resolve) => setTimeout(resolve, 30))
  expect(host.log.data).toEqual([])
  Object.assign(made.wires[0]!.client, { bufferedAmount: 0 })
  await until(() => host.log.data.length === 1)
})

test('a notice that does not fit one record is refused', async () => {
  const made = await rig()
  expect(() => made.client.notice(new Uint8Array(65_519))).toThrow(
    expect.objectContaining({ code: 'CHANNEL_OPTIONS' }),
  )
})

test('a callback that throws closes the channel', async () => {
  const made = await rig()
  const host = await open(made)
  host.channel.onData = () => {
    throw new Error('cannot take it')
  }
  made.client.send(pattern(1))
  await until(() => made.client.state === 'closed')
  expect(host.log.states.at(-1)).toBe('closed: CHANNEL_CALLBACK: Error: cannot take it')
  expect(made.log.states.at(-1)).toBe('closed: CHANNEL_CALLBACK')
})

/** What a network can do to the third message of the client after its handshake. */
const attacks: Readonly<Record<string, (message: Uint8Array, held: Uint8Array[]) => readonly Uint8Array[]>> =
  {
    lost: () => [],
    shortened: (message) => [message.subarray(0, -1)],
    emptied: () => [new Uint8Array(0)],
    altered: (message) => {
      const altered = message.slice()
      altered[altered.length >> 1]! ^= 1
      return [altered]
    },
    repeated: (message) => [message, message],
    'replaced by an old one': (_, held) => [held[0]!],
    'overtaken by an invented one': (message) => [pattern(40), message],
  }

test.each(Object.entries(attacks))(
  'when a record is %s, the stream still arrives whole',
  async (_, attack) => {
    const held: Uint8Array[] = []
    const made = await rig({
      tampers: (dial) =>
        dial > 0
          ? undefined
          : (message, direction, index) => {
              if (direction === 'down' || index === 0) return [message]
              held.push(message)
              return index === 3 ? attack(message, held) : [message]
            },
    })
    const host = await open(made)
    const sent = pattern(900_000)
    for (let offset = 0; offset < sent.length; offset += 100_000)
      made.client.send(sent.subarray(offset, offset + 100_000))
    made.client.notice(encodeUtf8('end'))
    await until(() => host.log.notices.length === 1)
    expect(Buffer.compare(bytesOf(host.log), sent)).toBe(0)
    expect(made.wires.length).toBe(2)
    expect([...host.log.states, ...made.log.states].join()).toMatch(/interrupted/u)
  },
)

test('two swapped records interrupt the channel and are repaired', async () => {
  let kept: Uint8Array | undefined
  const made = await rig({
    tampers: (dial) =>
      dial > 0
        ? undefined
        : (message, direction, index) => {
            if (direction === 'down' && index === 3) {
              kept = message
              return []
            }
            return kept !== undefined && direction === 'down' ? [message, kept] : [message]
          },
  })
  const host = await open(made)
  const sent = pattern(500_000)
  host.channel.send(sent)
  await until(() => bytesOf(made.log).length === sent.length)
  expect(Buffer.compare(bytesOf(made.log), sent)).toBe(0)
  expect(made.log.states).toContain('interrupted: CHANNEL_TAMPERED')
})

test('a channel survives two cuts in a row, in both directions at once', async () => {
  const made = await rig()
  const host = await open(made)
  const [up, down] = [pattern(400_000, 1), pattern(400_000, 2)]
  for (let part = 0; part < 4; part += 1) {
    made.client.send(up.subarray(part * 100_000, (part + 1) * 100_000))
    host.channel.send(down.subarray(part * 100_000, (part + 1) * 100_000))
    made.client.notice(encodeUtf8(`part ${part}`))
    if (part === 1 || part === 2) made.wires.at(-1)!.cut()
  }
  await until(() => made.wires.length >= 2 && made.client.state === 'open')
  made.wires.at(-1)!.cut()
  await until(() => bytesOf(made.log).length === down.length && host.log.notices.length === 4)
  expect(Buffer.compare(bytesOf(host.log), up)).toBe(0)
  expect(Buffer.compare(bytesOf(made.log), down)).toBe(0)
  expect(host.log.notices).toEqual(['part 0', 'part 1', 'part 2', 'part 3'])
  expect(made.accepted.length).toBe(1)
  await until(() => made.wires.length >= 3)
})

const loseReply: Tamper = (message, direction, index) =>
  direction === 'down' && index === 0 ? 'cut' : [message]

const loseFirst: Tamper = (message, direction, index) =>
  direction === 'up' && index === 1 ? 'cut' : [message]

test('a lost reply strands nobody: neither of a ticket nor of a resume', async () => {
  const made = await rig({ tampers: (dial) => ([0, 1, 3, 4].includes(dial) ? loseReply : undefined) })
  const host = await open(made)
  expect(made.wires.length).toBe(3)
  made.client.send(encodeUtf8('one'))
  await until(() => host.log.data.length === 1)
  made.wires[2]!.cut()
  made.client.send(encodeUtf8(' two'))
  await until(() => decodeUtf8(bytesOf(host.log)) === 'one two')
  expect(made.wires.length).toBe(6)
  expect(made.accepted.length).toBe(1)
})

test('a lost first record strands nobody either', async () => {
  const made = await rig({ tampers: (dial) => ([0, 1, 2].includes(dial) ? loseFirst : undefined) })
  const host = await open(made)
  made.client.send(encodeUtf8('here'))
  await until(() => decodeUtf8(bytesOf(host.log)) === 'here')
  expect(made.accepted.length).toBe(1)
})

test('a new transport replaces one of which the host does not know that it is dead', async () => {
  const made = await rig()
  const host = await open(made)
  // Only the client's side learns of the end.
  made.wires[0]!.client.onclose?.()
  made.client.send(encodeUtf8('moved'))
  await until(() => decodeUtf8(bytesOf(host.log)) === 'moved')
  expect(made.accepted.length).toBe(1)
})

test('a recorded opening, played again, opens nothing and disturbs nothing', async () => {
  const made = await rig()
  const host = await open(made)
  made.wires[0]!.cut()
  await until(() => made.wires.length === 2 && made.client.state === 'open' && host.channel.state === 'open')
  for (const recorded of made.wires.slice(0, 2)) {
    const replay = wire()
    made.host.accept(replay.host)
    const replies: Uint8Array[] = []
    listen(replay.client, (message) => void replies.push(message))
    for (const { direction, message } of recorded.seen) if (direction === 'up') replay.client.send(message)
    await new Promise((resolve) => setTimeout(resolve, 30))
    for (const reply of replies) expect(decodeReply(reply)).toEqual({ refusal: 'unknown' })
  }
  made.client.send(encodeUtf8('still here'))
  await until(() => decodeUtf8(bytesOf(host.log)) === 'still here')
  expect(made.accepted.length).toBe(1)
})

test('a ticket opens one channel, also when it is used twice at once', async () => {
  const ticket = createTicket()
  const made = await rig({ ticket })
  const second = connectChannel({
    async dial() {
      const another = wire()
      made.host.accept(another.host)
      return another.client
    },
    hostKey: await exportPublic(hostKeys.publicKey),
    keyPair: clientKeys,
    ticket,
    context,
    scheduler: fastScheduler(10),
  })
  await until(() => [made.client.state, second.state].includes('closed'))
  await until(() => [made.client.state, second.state].includes('open'))
  expect(made.accepted.length).toBe(1)
  second.close('done')
})

test('a used ticket is refused', async () => {
  const ticket = createTicket()
  const made = await rig({ ticket })
  await open(made)
  const again = await rig({ ticket, client: { dial: async () => dialTo(made.host) } })
  await until(() => again.client.state === 'closed')
  expect(again.log.states).toEqual(['closed: CHANNEL_REFUSED'])
})

function dialTo(host: ChannelHost): Wire['client'] {
  const made = wire()
  host.accept(made.host)
  return made.client
}

const strangers: Readonly<Record<string, () => Promise<Parameters<typeof rig>[0]>>> = {
  ticket: async () => ({ redeemed: { psk: pattern(32) } }),
  'client key': async () => ({ client: { keyPair: await generateX25519() } }),
  'host key': async () => ({ client: { hostKey: await exportPublic((await generateX25519()).publicKey) } }),
  context: async () => ({ redeemed: { context: encodeUtf8('host 7, session 8') } }),
}

test.each(Object.entries(strangers))(
  'another %s than the site said is refused and burns nothing',
  async (_, options) => {
    const made = await rig(await options())
    await until(() => made.client.state === 'closed')
    expect(made.log.states).toEqual(['closed: CHANNEL_REFUSED'])
    expect(made.accepted).toEqual([])
    expect(made.redeem).toHaveBeenCalledTimes(1)
  },
)

test.each<Partial<ConnectOptions>>([{ ticket: pattern(31) }, { hostKey: pattern(33) }])(
  'keys of a wrong length are not tried twice',
  async (client) => {
    const made = await rig({ client })
    await until(() => made.client.state === 'closed')
    expect(made.log.states).toEqual(['closed: CHANNEL_OPTIONS'])
    expect(made.wires.length).toBeLessThan(2)
  },
)

test('an interrupted channel ends after resumeMs at both ends', async () => {
  const scheduler = new ManualScheduler()
  const made = await rig({
    scheduler,
    resumeMs: 60_000,
    tampers: (dial) => (dial === 0 ? undefined : 'refuse'),
  })
  const host = await open(made)
  made.wires[0]!.cut()
  await until(() => host.channel.state === 'interrupted' && made.client.state === 'interrupted')
  scheduler.advance(59_000)
  expect([host.channel.state, made.client.state]).toEqual(['interrupted', 'interrupted'])
  scheduler.advance(2_000)
  expect(host.log.states.at(-1)).toBe('closed: CHANNEL_EXPIRED')
  expect(made.log.states.at(-1)).toBe('closed: CHANNEL_EXPIRED')
})

test('a client that cannot reach the host tries again, later each time, until it gives up', async () => {
  const scheduler = new ManualScheduler()
  const made = await rig({ scheduler, resumeMs: 30_000, tampers: () => 'refuse' })
  await until(() => made.wires.length === 1)
  const at: number[] = []
  for (let dials = 0; made.client.state !== 'closed'; scheduler.advance(50)) {
    await new Promise((resolve) => setImmediate(resolve))
    if (made.wires.length > dials) {
      dials = made.wires.length
      at.push(scheduler.now())
    }
  }
  const gaps = at.slice(1).map((time, index) => time - at[index]!)
  expect(gaps.length).toBeGreaterThan(4)
  expect(gaps).toEqual(gaps.toSorted((a, b) => a - b))
  expect(made.log.states).toEqual(['closed: CHANNEL_EXPIRED'])
})

test('a silent connection is given up', async () => {
  const scheduler = new ManualScheduler()
  let silent = false
  const made = await rig({
    scheduler,
    // The host goes on hearing the client, or whichever of them gives up first would be chance.
    tampers: (dial) =>
      dial === 0 ? (message, direction) => (silent && direction === 'down' ? [] : [message]) : 'refuse',
  })
  await open(made)
  silent = true
  await until(() => {
    scheduler.advance(5_000)
    return made.log.states.length > 1
  })
  expect(made.log.states[1]).toBe('interrupted: CHANNEL_SILENT')
})

test('when the network may have changed, a dead connection is found soon, and the next one is not waited for', async () => {
  const scheduler = new ManualScheduler()
  let silent = false
  let heard = 0
  const made = await rig({
    scheduler,
    tampers: (dial) => {
      if (dial > 0) return dial === 1 ? 'refuse' : undefined
      return (message, direction) => {
        if (direction === 'down') heard += 1
        return silent && direction === 'down' ? [] : [message]
      }
    },
  })
  await open(made)
  const before = heard
  made.client.probe()
  await until(() => heard > before)
  await new Promise((resolve) => setTimeout(resolve, 0))
  scheduler.advance(5_000)
  expect(made.client.state).toBe('open')

  silent = true
  made.client.probe()
  scheduler.advance(5_000)
  expect(made.client.state).toBe('interrupted')
  for (const wires of [2, 3]) {
    await until(() => {
      made.client.probe()
      return made.wires.length === wires
    })
  }
  await until(() => made.client.state === 'open')
})

test('an end whose peer never acknowledges holds a bounded amount and then ends', async () => {
  const made = await rig({ replayBytes: 1 << 20 })
  const host = await open(made)
  host.channel.onData = null
  let taken = 0
  while (made.client.send(new Uint8Array(1 << 16))) taken += 1
  expect(taken).toBeLessThan(17)
  while (made.client.state !== 'closed') {
    made.client.send(new Uint8Array(1 << 16))
    taken += 1
    expect(taken).toBeLessThan(40)
  }
  expect(made.log.states.at(-1)).toBe('closed: CHANNEL_OVERFLOW')
})

test('arbitrary bytes decode or are malformed', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.constantFrom(0, 1, 2, 3, 4, 5, 6), (bytes, first) => {
      for (const decode of [decodeOpen, decodeReply, decodeFrame]) {
        for (const input of [bytes, Uint8Array.of(first, ...bytes)]) {
          try {
            decode(input)
          } catch (error) {
            expect(isCoded(error) && error.code).toBe('CHANNEL_MALFORMED')
          }
        }
      }
    }),
    { numRuns: 500 },
  )
})

test('arbitrary messages to a host get a refusal', async () => {
  const made = await rig()
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
      const another = wire()
      made.host.accept(another.host)
      const reply = await new Promise<Uint8Array>((resolve) => {
        listen(another.client, resolve)
        another.client.send(Uint8Array.of(1, 1, ...bytes))
      })
      expect(decodeReply(reply)).toHaveProperty('refusal')
    }),
    { numRuns: 50 },
  )
})

test('whatever the network does, what arrives is a prefix of what was sent, and in the end all of it', async () => {
  const step = fc.constantFrom<'pass' | 'drop' | 'cut' | 'flip' | 'twice' | 'short' | 'hold'>(
    ...([
      'pass',
      'pass',
      'pass',
      'pass',
      'pass',
      'pass',
      'drop',
      'cut',
      'flip',
      'twice',
      'short',
      'hold',
    ] as const),
  )
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 5, maxLength: 60 }),
      fc.array(fc.nat(90_000), { minLength: 1, maxLength: 12 }),
      async (steps, sizes) => {
        const script = steps.values()
        let held: Uint8Array | undefined
        const tamper: Tamper = (message, _, index) => {
          const step = script.next().value
          // A refusal is not authenticated, so whoever alters an opening may end the channel. Losing it must not.
          if (index === 0 && step !== 'drop' && step !== 'cut') return [message]
          switch (step) {
            case 'drop':
              return []
            case 'cut':
              return 'cut'
            case 'twice':
              return [message, message]
            case 'short':
              return [message.subarray(0, message.length >> 1)]
            case 'flip':
              message[message.length - 1]! ^= 0x80
              return [message]
            case 'hold': {
              const earlier = held
              held = message
              return earlier === undefined ? [] : [earlier]
            }
            default:
              return [message]
          }
        }
        const made = await rig({ tampers: () => tamper, scheduler: fastScheduler(200), resumeMs: 3_600_000 })
        const sent = sizes.map((size, index) => pattern(size, index))
        const whole = concatBytes(...sent)
        for (const [index, part] of sent.entries()) {
          made.client.send(part)
          made.accepted[0]?.channel.notice(encodeUtf8(`${index}`))
          await new Promise((resolve) => setImmediate(resolve))
        }
        await until(() => {
          const got = bytesOf(made.accepted[0]?.log)
          expect(Buffer.compare(got, whole.subarray(0, got.length))).toBe(0)
          expect(made.log.states.join()).not.toContain('closed')
          return got.length === whole.length
        })
        expect(made.accepted.length).toBeLessThanOrEqual(1)
        made.client.close('done')
        made.host.close()
      },
    ),
    { numRuns: 25 },
  )
}, 60_000)
