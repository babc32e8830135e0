import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { concatBytes, decodeHex, encodeHex } from '#core/bytes/index.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { Piece } from '../byte-runs.ts'
import { request, twoExports, wire } from '../nbd.fixture.ts'
import { appendExtents, type Descriptor, maximumDescriptors } from './block-status.ts'
import { ReplyEncoder } from './reply-encoder.ts'
import { type Request, RequestStream } from './request.ts'
import type { Session } from './session.ts'

const cmd = { read: 0, write: 1, disc: 2, flush: 3, trim: 4, cache: 5, writeZeroes: 6, blockStatus: 7 }
const flag = { fua: 1, noHole: 2, df: 4, reqOne: 8, fastZero: 16 }
const error = { EPERM: 1, EINVAL: 22, ENOSPC: 28, EOVERFLOW: 75 }

const [first, second] = twoExports()
const session: Session = { export: first, structured: true, allocation: true }

function requestsIn(pieces: readonly Uint8Array[], on = session): Request[] {
  const stream = new RequestStream(on)
  return pieces.flatMap((bytes) => {
    const piece = new Piece(bytes)
    const requests: Request[] = []
    for (let next = stream.next(piece); next; next = stream.next(piece)) requests.push(next)
    expect(piece.left).toBe(0)
    return requests
  })
}

function codeOf(run: () => unknown): string | undefined {
  try {
    run()
    return undefined
  } catch (error) {
    return isCoded(error) ? error.code : 'not coded'
  }
}

/** The error of a request, 0 when it is allowed. */
function refusalOf(bytes: Uint8Array, on: Partial<Session> = {}): number {
  const [only] = requestsIn([bytes], { ...session, ...on })
  return only?.refusal?.error ?? 0
}

test('a request header is read field by field', () => {
  const bytes = decodeHex(wire('25609513 0004 0000 0102030405060708 0000000000001000 00000200'))
  expect(requestsIn([bytes])).toEqual([
    {
      flags: 4,
      type: 0,
      cookie: 0x0102030405060708n,
      offset: 4096n,
      length: 512,
      payload: undefined,
      refusal: undefined,
    },
  ])
})

test('a payload in one piece is a view of it, one in several is put together', () => {
  const payload = Uint8Array.from({ length: 300 }, (_, index) => index)
  const bytes = request(cmd.write, { payload })
  const [whole] = requestsIn([bytes])
  expect(whole?.payload?.buffer).toBe(bytes.buffer)
  const [parts] = requestsIn([bytes.subarray(0, 100), bytes.subarray(100, 200), bytes.subarray(200)])
  expect(parts?.payload).toEqual(payload)
})

test('the payload of a refused write is thrown away and the next request is found', () => {
  const refused = request(cmd.write, { offset: 65_000n, payload: new Uint8Array(1000) })
  const requests = requestsIn([refused.subarray(0, 500), refused.subarray(500), request(cmd.disc)])
  expect(requests.map(({ type, payload, refusal }) => [type, payload, refusal?.error])).toEqual([
    [cmd.write, undefined, error.ENOSPC],
    [cmd.disc, undefined, undefined],
  ])
})

test('what is not for this session is refused with the error of the specification', () => {
  const refusals: readonly [number, Uint8Array, Partial<Session>?][] = [
    [error.EINVAL, request(8, { length: 1 })],
    [error.EINVAL, request(cmd.read, { offset: 65_536n, length: 1 })],
    [error.EINVAL, request(cmd.read, { offset: (1n << 64n) - 1n, length: 1 })],
    [error.EINVAL, request(cmd.trim, { offset: 65_535n, length: 2 })],
    [error.EINVAL, request(cmd.blockStatus, { offset: 0n, length: 65_537 })],
    [error.EINVAL, request(cmd.cache, { offset: 0n, length: 65_537 })],
    [error.ENOSPC, request(cmd.write, { offset: 65_535n, payload: new Uint8Array(2) })],
    [error.ENOSPC, request(cmd.writeZeroes, { offset: 65_535n, length: 2 })],
    [error.EPERM, request(cmd.write, { payload: new Uint8Array(2) }), { export: second }],
    [error.EPERM, request(cmd.trim, { length: 2 }), { export: second }],
    [error.EPERM, request(cmd.writeZeroes, { length: 2 }), { export: second }],
    [error.EINVAL, request(cmd.flush), { export: second }],
    [error.EINVAL, request(cmd.read, { length: 1, flags: flag.fua }), { export: second }],
    [error.EINVAL, request(cmd.flush, { length: 1 })],
    [error.EINVAL, request(cmd.read)],
    [error.EINVAL, request(cmd.read, { length: 1, flags: flag.df }), { structured: false }],
    [error.EINVAL, request(cmd.read, { length: 1, flags: flag.noHole })],
    [error.EINVAL, request(cmd.cache, { length: 1, flags: flag.reqOne })],
    [error.EINVAL, request(cmd.trim, { length: 1, flags: flag.fastZero })],
    [error.EINVAL, request(cmd.blockStatus, { length: 1 }), { allocation: false }],
  ]
  for (const [expected, bytes, on] of refusals) expect(refusalOf(bytes, on)).toBe(expected)
})

test('what the session offers is allowed with every flag that belongs to it', () => {
  const allowed = [
    request(cmd.read, { offset: 65_535n, length: 1, flags: flag.fua | flag.df }),
    request(cmd.write, { offset: 65_535n, payload: Uint8Array.of(1), flags: flag.fua }),
    request(cmd.flush, { flags: flag.fua }),
    request(cmd.trim, { length: 65_536, flags: flag.fua }),
    request(cmd.cache, { length: 65_536 }),
    request(cmd.writeZeroes, { length: 65_536, flags: flag.fua | flag.noHole | flag.fastZero }),
    request(cmd.blockStatus, { length: 65_536, flags: flag.reqOne }),
  ]
  for (const bytes of allowed) expect(refusalOf(bytes)).toBe(0)
})

test('reads longer than a payload may be are refused, writes end the connection', () => {
  const large = { ...first, device: { ...first.device, sizeBytes: 1n << 40n } }
  const read = request(cmd.read, { length: 33_554_433 })
  expect(refusalOf(read, { export: large })).toBe(error.EOVERFLOW)
  expect(refusalOf(read, { export: large, structured: false })).toBe(error.EINVAL)
  expect(refusalOf(request(cmd.read, { length: 33_554_432 }), { export: large })).toBe(0)
  expect(codeOf(() => requestsIn([request(cmd.write, { length: 33_554_433 })]))).toBe('NBD_TOO_LONG')
})

test('bytes that are no request end the connection', () => {
  expect(codeOf(() => requestsIn([new Uint8Array(28)]))).toBe('NBD_BAD_MAGIC')
})

test('replies are encoded as the specification draws them', () => {
  const encoder = new ReplyEncoder()
  const cookie = 0x0102030405060708n
  expect(encodeHex(encoder.simple(cookie, 5))).toBe(wire('67446698 00000005 0102030405060708'))
  expect(encodeHex(encoder.none(cookie))).toBe(wire('668e33ef 0001 0000 0102030405060708 00000000'))
  expect(encodeHex(encoder.offsetData(cookie, 4096n, 512, true))).toBe(
    wire('668e33ef 0001 0001 0102030405060708 00000208 0000000000001000'),
  )
  expect(encodeHex(encoder.offsetHole(cookie, 4096n, 512, false))).toBe(
    wire('668e33ef 0000 0002 0102030405060708 0000000c 0000000000001000 00000200'),
  )
  expect(encodeHex(encoder.error(cookie, { error: 5, message: 'no' }))).toBe(
    wire('668e33ef 0001 8001 0102030405060708 00000008 00000005 0002 6e6f'),
  )
  expect(encodeHex(encoder.blockStatus(cookie, [{ length: 4096, status: 3 }]))).toBe(
    wire('668e33ef 0001 0005 0102030405060708 0000000c 00000001 00001000 00000003'),
  )
})

test('replies that share memory do not alter each other', () => {
  const encoder = new ReplyEncoder()
  const replies = Array.from({ length: 3000 }, (_, index) => encoder.simple(BigInt(index), 0))
  for (const [index, reply] of replies.entries())
    expect(new DataView(reply.buffer, reply.byteOffset).getBigUint64(8)).toBe(BigInt(index))
})

test('an error message is cut to what a string may have', () => {
  const reply = new ReplyEncoder().error(1n, { error: 5, message: '🦊'.repeat(5000) })
  expect(reply.length).toBeLessThanOrEqual(20 + 6 + 4096)
})

test('extents become descriptors, neighbours of one status are joined, too many are left out', () => {
  const descriptors: Descriptor[] = []
  expect(
    appendExtents(descriptors, [
      { length: 10, kind: 'data' },
      { length: 20, kind: 'hole' },
    ]),
  ).toBe(true)
  expect(
    appendExtents(descriptors, [
      { length: 30, kind: 'hole' },
      { length: 40, kind: 'zero' },
    ]),
  ).toBe(true)
  expect(descriptors).toEqual([
    { length: 10, status: 0 },
    { length: 50, status: 3 },
    { length: 40, status: 2 },
  ])
  const many = Array.from(
    { length: 10_000 },
    (_, index) => ({ length: 1, kind: index % 2 ? 'data' : 'hole' }) as const,
  )
  expect(appendExtents(descriptors, many)).toBe(false)
  expect(descriptors.length).toBe(maximumDescriptors)
})

const anyRequest = fc
  .record({
    type: fc.integer({ min: 0, max: 9 }),
    flags: fc.integer({ min: 0, max: 31 }),
    cookie: fc.bigInt(0n, (1n << 64n) - 1n),
    offset: fc.oneof(fc.bigInt(0n, 70_000n), fc.bigInt(0n, (1n << 64n) - 1n)),
    payload: fc.uint8Array({ maxLength: 100 }),
  })
  .map(({ type, payload, ...fields }) =>
    request(type, type === cmd.write ? { ...fields, payload } : { ...fields, length: payload.length }),
  )

test('byte by byte the same requests are found as at once', () => {
  fc.assert(
    fc.property(fc.array(anyRequest, { maxLength: 10 }), (requests) => {
      const bytes = concatBytes(...requests)
      const single = Array.from(bytes, (byte) => Uint8Array.of(byte))
      const atOnce = requestsIn([bytes])
      expect(requestsIn(single)).toEqual(atOnce)
      expect(atOnce.length).toBe(requests.length)
    }),
  )
})

test('whatever a client sends, requests are found or it is dropped with a code', () => {
  const streams = fc.array(fc.oneof(fc.uint8Array({ maxLength: 60 }), anyRequest), { maxLength: 10 })
  fc.assert(
    fc.property(streams, (parts) => {
      const bytes = concatBytes(...parts)
      const code = codeOf(() => {
        const requests = requestsIn([bytes])
        expect(requests.length).toBeLessThanOrEqual(bytes.length / 28)
        for (const { refusal, offset, length } of requests.filter(({ type }) => type === cmd.read))
          expect(refusal !== undefined || offset + BigInt(length) <= 65_536n).toBe(true)
      })
      expect(['undefined', 'NBD_BAD_MAGIC', 'NBD_TOO_LONG']).toContain(String(code))
    }),
  )
})
