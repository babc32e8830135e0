import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { concatBytes, decodeHex, encodeHex, encodeUtf8, Reader } from '#core/bytes/index.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { contextRequest, infoRequest, option, twoExports, wire } from '../nbd.fixture.ts'
import { greeting, Handshake, type HandshakeNext } from './handshake.ts'

const opt = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structured: 8,
  listContexts: 9,
  setContexts: 10,
}
const ack = 1
const unsupported = 0x80000001
const invalid = 0x80000003
const tlsRequired = 0x80000005
const unknown = 0x80000006
const fixedNoZeroes = Uint8Array.of(0, 0, 0, 3)

interface Reply {
  readonly option: number
  readonly type: number
  readonly data: Uint8Array
}

/** A client that says all it has to say at once. */
function talk(
  options: readonly Uint8Array[],
  { tls = false, clientFlags = fixedNoZeroes } = {},
): { replies: readonly Reply[]; next: HandshakeNext } {
  const { send, next } = new Handshake(twoExports(), tls).feed(concatBytes(clientFlags, ...options))
  return { replies: decodeReplies(send), next }
}

function decodeReplies(bytes: Uint8Array): readonly Reply[] {
  const fields = new Reader(bytes)
  const replies: Reply[] = []
  while (fields.remaining > 0) {
    expect(fields.u64()).toBe(0x3e889045565a9n)
    const [option, type, length] = [fields.u32(), fields.u32(), fields.u32()]
    replies.push({ option, type, data: fields.bytes(length) })
  }
  return replies
}

function codeOf(run: () => unknown): string | undefined {
  try {
    run()
    return undefined
  } catch (error) {
    return isCoded(error) ? error.code : 'not coded'
  }
}

test('the greeting is that of fixed newstyle without zeroes', () => {
  expect(encodeHex(greeting)).toBe(wire('4e42444d41474943 49484156454f5054 0003'))
})

test('NBD_OPT_GO tells the size and flags and enters transmission', () => {
  const handshake = new Handshake(twoExports(), false)
  const { send, next } = handshake.feed(
    decodeHex(wire('00000003 49484156454f5054 00000007 0000000b 00000005 6669727374 0000')),
  )
  expect(encodeHex(send)).toBe(
    wire(
      '0003e889045565a9 00000007 00000003 0000000c 0000 0000000000010000 0d6d 0003e889045565a9 00000007 00000001 00000000',
    ),
  )
  expect(next).toMatchObject({
    kind: 'transmission',
    session: { export: { name: 'first' }, structured: false, allocation: false },
  })
})

test('NBD_OPT_INFO tells what was asked for and stays in the handshake', () => {
  const { replies, next } = talk([option(opt.structured), option(opt.info, infoRequest('', 1, 2, 3, 77))])
  expect(replies.map(({ type, data }) => [type, encodeHex(data)])).toEqual([
    [ack, ''],
    [3, wire('0000 0000000000010000 0ded')],
    [3, '0001' + encodeHex(encodeUtf8('first'))],
    [3, '0002' + encodeHex(encodeUtf8('a disk'))],
    [3, wire('0003 00000001 00001000 02000000')],
    [ack, ''],
  ])
  expect(next.kind).toBe('more')
})

test('a device that cannot be written is told to be read-only and without what belongs to writing', () => {
  const [first] = talk([option(opt.info, infoRequest('second'))]).replies
  expect(encodeHex(first!.data)).toBe(wire('0000 0000000000001000 0503'))
})

test('NBD_OPT_EXPORT_NAME answers without a header, with zeroes for those who want them', () => {
  for (const [clientFlags, zeroes] of [
    ['00000003', 0],
    ['00000001', 124],
    ['00000000', 124],
  ] as const) {
    const handshake = new Handshake(twoExports(), false)
    const { send, next } = handshake.feed(concatBytes(decodeHex(clientFlags), option(opt.exportName)))
    expect(encodeHex(send)).toBe(wire('0000000000010000 0d6d') + '00'.repeat(zeroes))
    expect(next.kind).toBe('transmission')
  }
})

test('NBD_OPT_LIST names every export with its description', () => {
  expect(talk([option(opt.list)]).replies.map(({ type, data }) => [type, encodeHex(data)])).toEqual([
    [2, '00000005' + encodeHex(encodeUtf8('firsta disk'))],
    [2, '00000006' + encodeHex(encodeUtf8('second'))],
    [ack, ''],
  ])
})

test('NBD_OPT_ABORT is acknowledged and ends the connection, also before TLS', () => {
  for (const tls of [false, true]) {
    const { replies, next } = talk([option(opt.abort, encodeUtf8('bye'))], { tls })
    expect(replies.map(({ type }) => type)).toEqual([ack])
    expect(next.kind).toBe('end')
  }
})

test('an unknown option, a malformed one and an unknown export are refused, and the handshake goes on', () => {
  const refused = [
    option(11),
    option(4242, encodeUtf8('whatever')),
    option(opt.list, Uint8Array.of(0)),
    option(opt.structured, Uint8Array.of(0)),
    option(opt.go, Uint8Array.of(0, 0, 0, 9, 1)),
    option(opt.info, concatBytes(infoRequest('first'), Uint8Array.of(0))),
    option(opt.info, concatBytes(Uint8Array.of(0, 0, 16, 1), new Uint8Array(4099))),
    option(opt.go, infoRequest('third')),
    option(opt.startTls),
  ]
  const { replies, next } = talk([...refused, option(opt.go, infoRequest('first'))])
  expect(replies.map(({ type }) => type)).toEqual([
    unsupported,
    unsupported,
    invalid,
    invalid,
    invalid,
    invalid,
    invalid,
    unknown,
    unsupported,
    3,
    ack,
  ])
  expect(next.kind).toBe('transmission')
})

test('before TLS everything but NBD_OPT_STARTTLS and NBD_OPT_ABORT is refused, afterwards nothing is left of it', () => {
  const handshake = new Handshake(twoExports(), true)
  const before = handshake.feed(
    concatBytes(
      fixedNoZeroes,
      option(opt.list),
      option(opt.go, infoRequest('first')),
      option(4242),
      option(opt.structured),
      option(opt.startTls, Uint8Array.of(1)),
      option(opt.startTls),
    ),
  )
  expect(decodeReplies(before.send).map(({ type }) => type)).toEqual([
    tlsRequired,
    tlsRequired,
    tlsRequired,
    tlsRequired,
    invalid,
    ack,
  ])
  expect(before.next.kind).toBe('starttls')
  const after = handshake.feed(
    concatBytes(
      option(opt.startTls),
      option(opt.setContexts, contextRequest('first', 'base:allocation')),
      option(opt.go, infoRequest('first')),
    ),
  )
  expect(decodeReplies(after.send).map(({ type }) => type)).toEqual([invalid, invalid, 3, ack])
  expect(after.next).toMatchObject({ session: { structured: false, allocation: false } })
})

function listed(...queries: readonly string[]): number {
  const list = option(opt.listContexts, contextRequest('first', ...queries))
  return talk([option(opt.structured), list]).replies.length
}

test('base:allocation is listed by itself, by its namespace and by no query at all', () => {
  expect([listed(), listed('base:'), listed('x-other:', 'base:allocation')]).toEqual([3, 3, 3])
  expect([listed('base:other'), listed('x-other:thing')]).toEqual([2, 2])
})

test('base:allocation is on for the export it was chosen for, until another choice', () => {
  const chosen = (...options: readonly Uint8Array[]): boolean => {
    const { next } = talk([option(opt.structured), ...options, option(opt.go, infoRequest('first'))])
    return next.kind === 'transmission' && next.session.allocation
  }
  const choose = (name: string, ...queries: string[]): Uint8Array =>
    option(opt.setContexts, contextRequest(name, ...queries))
  expect(chosen(choose('first', 'base:allocation'))).toBe(true)
  expect(chosen(choose('', 'base:allocation'))).toBe(true)
  expect(chosen(choose('second', 'base:allocation'))).toBe(false)
  expect(chosen(choose('first', 'base:'))).toBe(false)
  expect(chosen(choose('first', 'base:allocation'), choose('first'))).toBe(false)
  expect(chosen(choose('first', 'base:allocation'), choose('third', 'base:allocation'))).toBe(false)
  expect(chosen(choose('first', 'base:allocation'), option(opt.setContexts, Uint8Array.of(1)))).toBe(false)
})

test('meta contexts need structured replies', () => {
  const { replies } = talk([
    option(opt.listContexts, contextRequest('first')),
    option(opt.setContexts, contextRequest('first', 'base:allocation')),
  ])
  expect(replies.map(({ type }) => type)).toEqual([invalid, invalid])
})

function dropped(bytes: Uint8Array, tls = false): string | undefined {
  return codeOf(() => new Handshake(twoExports(), tls).feed(bytes))
}

test('a client that breaks the rules where no reply can say so is dropped', () => {
  expect(dropped(Uint8Array.of(0, 0, 0, 4))).toBe('NBD_CLIENT_FLAGS')
  expect(dropped(concatBytes(fixedNoZeroes, encodeUtf8('GET / HTTP/1.1\r\n')))).toBe('NBD_BAD_MAGIC')
  expect(
    dropped(concatBytes(fixedNoZeroes, option(opt.list).subarray(0, 12), Uint8Array.of(0, 1, 16, 1))),
  ).toBe('NBD_TOO_LONG')
  expect(dropped(concatBytes(fixedNoZeroes, option(opt.exportName, encodeUtf8('third'))))).toBe(
    'NBD_UNKNOWN_EXPORT',
  )
  expect(dropped(concatBytes(fixedNoZeroes, option(opt.exportName)), true)).toBe('NBD_TLS_REQUIRED')
  expect(dropped(concatBytes(fixedNoZeroes, option(opt.startTls), option(opt.list)), true)).toBe(
    'NBD_BEFORE_TLS',
  )
  expect(dropped(concatBytes(new Uint8Array(4), option(opt.list)))).toBe('NBD_OPTION')
  const many = Array.from({ length: 257 }, () => option(4242))
  expect(dropped(concatBytes(fixedNoZeroes, ...many))).toBe('NBD_TOO_MANY_OPTIONS')
})

const anyOption = fc
  .tuple(
    fc.integer({ min: 1, max: 12 }),
    fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.constantFrom(
        infoRequest('first', 1, 3),
        infoRequest('third'),
        contextRequest('first', 'base:allocation'),
        new Uint8Array(0),
      ),
    ),
  )
  .map(([type, data]) => option(type, data))

/** What a client hears and where it ends up when it says `bytes` in the given pieces. */
function outcome(pieces: readonly Uint8Array[], tls: boolean): unknown {
  const handshake = new Handshake(twoExports(), tls)
  let heard = ''
  for (const [index, piece] of pieces.entries()) {
    const { send, next } = handshake.feed(piece)
    heard += encodeHex(send)
    if (next.kind === 'transmission') {
      const rest = concatBytes(next.rest, ...pieces.slice(index + 1))
      return { heard, session: { ...next.session, export: next.session.export.name }, rest: encodeHex(rest) }
    }
    if (next.kind !== 'more') return { heard, next }
  }
  return { heard }
}

test('byte by byte a client hears the same as at once', () => {
  const clients = fc.record({
    options: fc.array(anyOption, { maxLength: 6 }),
    behind: fc.uint8Array({ maxLength: 20 }),
    tls: fc.boolean(),
  })
  fc.assert(
    fc.property(clients, ({ options, behind, tls }) => {
      // Bytes behind STARTTLS are an error only when they come with it.
      fc.pre(!tls || options.every((bytes) => bytes[11] !== opt.startTls))
      const bytes = concatBytes(fixedNoZeroes, ...options, behind)
      const single = Array.from(bytes, (byte) => Uint8Array.of(byte))
      const [atOnce, oneByOne] = [[bytes], single].map((pieces) => {
        let result: unknown
        const code = codeOf(() => {
          result = outcome(pieces, tls)
        })
        return code ?? result
      })
      expect(oneByOne).toEqual(atOnce)
    }),
  )
})

test('whatever a client sends, the answer is bounded or it is dropped with a code', () => {
  const streams = fc.array(fc.oneof(fc.uint8Array({ maxLength: 100 }), anyOption), { maxLength: 10 })
  fc.assert(
    fc.property(streams, fc.boolean(), (parts, tls) => {
      const handshake = new Handshake(twoExports(), tls)
      const code = codeOf(() => {
        const { send } = handshake.feed(concatBytes(fixedNoZeroes, ...parts))
        expect(send.length).toBeLessThan(10_000)
      })
      expect(code === undefined || code.startsWith('NBD_') || code === 'BYTES_ENCODING').toBe(true)
    }),
  )
})
