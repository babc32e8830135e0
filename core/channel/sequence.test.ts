import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { concatBytes } from '#core/bytes/index.ts'
import { decodeFrame, type SequencedFrame } from './frame.ts'
import { Inbox } from './inbox.ts'
import { Outbox } from './outbox.ts'

function sequenced(bytes: Uint8Array | undefined): SequencedFrame {
  const frame = decodeFrame(bytes ?? new Uint8Array(0))
  if (frame.type === 'data' || frame.type === 'notice' || frame.type === 'close') return frame
  throw new Error('expected a sequenced frame')
}

interface Collector {
  readonly inbox: Inbox
  readonly got: Uint8Array[]
  ready: boolean
}

function collector(): Collector {
  const got: Uint8Array[] = []
  const inbox = new Inbox({ ready: () => made.ready, deliver: ({ bytes }) => void got.push(bytes) })
  const made: Collector = { inbox, got, ready: true }
  return made
}

function dataFrame(value: number): SequencedFrame {
  return { type: 'data', bytes: Uint8Array.of(value) }
}

test('what is sent in one go shares frames, and what was written never changes', () => {
  const outbox = new Outbox()
  for (let index = 0; index < 100; index += 1) outbox.append('data', Uint8Array.of(index))
  expect(outbox.next()?.length).toBe(101)
  outbox.append('data', Uint8Array.of(1))
  outbox.append('notice', Uint8Array.of(2))
  outbox.append('data', Uint8Array.of(3))
  expect([outbox.next(), outbox.next(), outbox.next(), outbox.next()]).toEqual([
    Uint8Array.of(1, 1),
    Uint8Array.of(5, 2),
    Uint8Array.of(1, 3),
    undefined,
  ])
})

test('a count that was never sent, or lies within a frame, is refused', () => {
  const outbox = new Outbox()
  outbox.append('data', new Uint8Array(10))
  outbox.append('notice', new Uint8Array(10))
  outbox.next()
  for (const received of [5, 22, 100]) {
    expect(() => outbox.acknowledge(received)).toThrow(expect.objectContaining({ code: 'CHANNEL_PROTOCOL' }))
    expect(() => outbox.rewind(received)).toThrow(expect.objectContaining({ code: 'CHANNEL_PROTOCOL' }))
  }
  outbox.acknowledge(11)
  expect(() => outbox.acknowledge(0)).toThrow(expect.objectContaining({ code: 'CHANNEL_PROTOCOL' }))
})

test('no more is on the way than the other end has to hold', () => {
  const outbox = new Outbox()
  outbox.append('data', new Uint8Array(20 << 20))
  let onTheWay = 0
  for (let frame = outbox.next(); frame !== undefined; frame = outbox.next()) onTheWay += frame.length
  expect(onTheWay).toBeLessThan((8 << 20) + (1 << 17))
})

test('a link that begins before what was already delivered repeats nothing', () => {
  const { inbox, got } = collector()
  for (const value of [1, 2, 3]) inbox.push(dataFrame(value))
  // The handshake said 2 (one frame); the old link brought two more since then.
  inbox.restart(2)
  for (const value of [2, 3, 4]) inbox.push(dataFrame(value))
  expect(concatBytes(...got)).toEqual(Uint8Array.of(1, 2, 3, 4))
  inbox.restart(6)
  expect(() => inbox.push({ type: 'data', bytes: Uint8Array.of(4, 5) })).toThrow(
    expect.objectContaining({ code: 'CHANNEL_PROTOCOL' }),
  )
})

test('what nobody takes is held up to a bound', () => {
  const { inbox } = collector()
  const slow = collector()
  slow.ready = false
  const frame: SequencedFrame = { type: 'data', bytes: new Uint8Array(65_000) }
  expect(() => {
    for (let index = 0; index < 300; index += 1) slow.inbox.push(frame)
  }).toThrow(expect.objectContaining({ code: 'CHANNEL_FLOODED' }))
  for (let index = 0; index < 300; index += 1) inbox.push(frame)
})

test('over any sequence of links everything arrives once and in order', () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('send' as const), size: fc.nat(70_000) }),
    fc.record({ do: fc.constant('carry' as const), size: fc.nat(5) }),
    fc.record({ do: fc.constantFrom('lose', 'ack', 'break', 'hold', 'take'), size: fc.constant(0) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const outbox = new Outbox()
      const receiver = collector()
      const sent: Uint8Array[] = []
      const carry = (): boolean => {
        const frame = outbox.next()
        if (frame !== undefined) receiver.inbox.push(sequenced(frame))
        return frame !== undefined
      }
      const reconnect = (): void => {
        const { delivered } = receiver.inbox
        outbox.rewind(delivered)
        receiver.inbox.restart(delivered)
      }
      for (const [index, { do: action, size }] of steps.entries()) {
        if (action === 'send') {
          sent.push(new Uint8Array(size).fill(index))
          outbox.append('data', sent.at(-1)!)
        } else if (action === 'carry') {
          for (let count = 0; count < size; count += 1) carry()
        } else if (action === 'lose') {
          outbox.next()
          reconnect()
        } else if (action === 'ack') outbox.acknowledge(receiver.inbox.delivered)
        else if (action === 'break') reconnect()
        else receiver.ready = action === 'take'
      }
      receiver.ready = true
      receiver.inbox.flush()
      reconnect()
      while (carry());
      expect(Buffer.compare(concatBytes(...receiver.got), concatBytes(...sent))).toBe(0)
      outbox.acknowledge(receiver.inbox.delivered)
      expect(outbox.size).toBe(0)
    }),
    { numRuns: 60 },
  )
})
