import { deflateSync } from 'node:zlib'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { concatBytes, encodeUtf8 } from '#core/bytes/index.ts'
import { RfbError, type RfbFilter, type RfbOutput } from './index.ts'
import {
  allRights,
  bgr233,
  bgrx,
  clientHandshake,
  cutText,
  extendedCutText,
  fence,
  flat,
  gathered,
  keyEvent,
  newFilter,
  noRights,
  pointerEvent,
  provided,
  qemuKeyEvent,
  readyFilter,
  rectangle,
  serverHandshake,
  setEncodings,
  setPixelFormat,
  update,
  updateRequest,
  version,
} from './rfb.fixture.ts'

const code = (code: string): unknown => expect.objectContaining({ code })
const bell = Uint8Array.of(2)

function send(filter: RfbFilter, isServer: boolean, bytes: Uint8Array): RfbOutput {
  return isServer ? filter.fromServer(bytes) : filter.fromClient(bytes)
}

test('offers None only, connects shared and tells when the picture may come', () => {
  const filter = newFilter()
  const server = filter.fromServer(serverHandshake())
  const client = filter.fromClient(clientHandshake)
  expect(server.events).toEqual([{ kind: 'ready' }])
  expect(flat(server.toClient).subarray(0, 14)).toEqual(concatBytes(version, Uint8Array.of(1, 1)))
  expect(flat(client.toServer)).toEqual(concatBytes(version, Uint8Array.of(1, 1)))
})

test.each([
  ['another version of the server', 's', encodeUtf8('RFB 003.003\n')],
  ['a server without None', 's', concatBytes(version, Uint8Array.of(1, 2))],
  ['a server that refuses', 's', concatBytes(version, Uint8Array.of(1, 1, 0, 0, 0, 1))],
  ['another version of the viewer', 'c', encodeUtf8('RFB 003.003\n')],
  ['another security type', 'c', concatBytes(version, Uint8Array.of(2))],
  ['a message before ServerInit', 'c', concatBytes(clientHandshake, keyEvent(true, 65))],
] as const)('refuses %s', (_, side, bytes) => {
  const filter = newFilter()
  expect(() => send(filter, side === 's', bytes)).toThrow(code('RFB_BAD_HANDSHAKE'))
  expect(() => filter.fromServer(bell)).toThrow(code('RFB_BROKEN'))
})

test('refuses a desktop name beyond 64 KiB without waiting for it', () => {
  const init = concatBytes(serverHandshake().subarray(0, 39), Uint8Array.of(0, 1, 0, 1))
  expect(() => newFilter().fromServer(init)).toThrow(code('RFB_TOO_LONG'))
})

test('strikes what it cannot parse from the list of encodings and adds nothing', () => {
  const out = readyFilter().fromClient(
    setEncodings(1, 50, 7, 21, -309, -32, -23, -256, -512, 99, 0xc0a1e5ce | 0, -259),
  )
  expect(flat(out.toServer)).toEqual(setEncodings(1, 7, -32, -23, -256, -512, 0xc0a1e5ce | 0))
})

test('passes input with the right to it', () => {
  const events = concatBytes(
    keyEvent(true, 65),
    keyEvent(false, 65),
    qemuKeyEvent(true, 65, 30),
    pointerEvent(1, 2, 3),
  )
  const out = readyFilter().fromClient(events)
  expect(flat(out.toServer)).toEqual(events)
  expect(out.events).toEqual([{ kind: 'input' }])
})

test('drops keys and pointer of a viewer that may only look', () => {
  const request = updateRequest()
  const events = [keyEvent(true, 65), qemuKeyEvent(true, 65, 30), pointerEvent(1, 2, 3), request]
  const out = readyFilter({ ...allRights, input: false }).fromClient(flat(events))
  expect(flat(out.toServer)).toEqual(request)
  expect(out.events).toEqual([])
})

test('lets go of every key and button when input is withdrawn', () => {
  const filter = readyFilter()
  filter.fromClient(
    flat([
      keyEvent(true, 65),
      keyEvent(true, 66),
      keyEvent(false, 66),
      qemuKeyEvent(true, 97, 30),
      pointerEvent(1, 20, 30),
    ]),
  )
  const released = concatBytes(keyEvent(false, 65), qemuKeyEvent(false, 97, 30), pointerEvent(0, 20, 30))
  expect(flat(filter.setRights({ ...allRights, input: false }).toServer)).toEqual(released)
  expect(flat(filter.setRights(noRights).toServer)).toEqual(new Uint8Array(0))
})

test('holds no more keys than a keyboard has', () => {
  const filter = readyFilter()
  const keys = Array.from({ length: 300 }, (_, index) => keyEvent(true, index))
  expect(flat(filter.fromClient(flat(keys)).toServer)).toEqual(flat(keys.slice(0, 256)))
})

test('clears the bit of the extended mouse buttons unless both ends know them', () => {
  const filter = readyFilter()
  filter.fromClient(setEncodings(-316))
  expect(flat(filter.fromClient(pointerEvent(0x81, 1, 1)).toServer)).toEqual(pointerEvent(1, 1, 1))
  filter.fromServer(update(1, rectangle(0, 0, 0, 0, -316)))
  const extended = concatBytes(pointerEvent(0x81, 1, 1), Uint8Array.of(2))
  expect(flat(filter.fromClient(extended).toServer)).toEqual(extended)
  filter.fromClient(setEncodings(0))
  expect(flat(filter.fromClient(pointerEvent(0x81, 1, 1)).toServer)).toEqual(pointerEvent(1, 1, 1))
})

test('drops xvp, passes what only concerns the picture', () => {
  const desktopSize = concatBytes(Uint8Array.of(251, 0, 1, 0, 1, 0, 1, 0), new Uint8Array(16))
  const continuous = Uint8Array.of(150, 1, 0, 0, 0, 0, 0, 9, 0, 9)
  const out = readyFilter(noRights).fromClient(
    concatBytes(Uint8Array.of(250, 0, 1, 2), desktopSize, continuous),
  )
  expect(flat(out.toServer)).toEqual(concatBytes(desktopSize, continuous))
})

test('passes text either way with the rights', () => {
  const filter = readyFilter()
  const given = provided(encodeUtf8('grüezi\0'), false)
  for (const type of [6, 3] as const) {
    const messages = flat([
      cutText(type, 'hello'),
      extendedCutText(type, 1, Uint8Array.of(0, 0, 1, 0)),
      extendedCutText(type, 2),
      extendedCutText(type, 4),
      extendedCutText(type, 8),
      extendedCutText(type, 16, given),
    ])
    const out = type === 6 ? filter.fromClient(messages) : filter.fromServer(messages)
    const direction = type === 6 ? 'in' : 'out'
    expect(flat(type === 6 ? out.toServer : out.toClient)).toEqual(messages)
    expect(out.events).toEqual([
      { kind: 'clipboard-passed', direction, bytes: 5 },
      { kind: 'clipboard-passed', direction, bytes: 8 },
    ])
  }
})

test('without a right to copy, nothing but capabilities passes, whichever way it is asked', () => {
  const caps = extendedCutText(6, 1, Uint8Array.of(0, 0, 1, 0))
  const given = provided(encodeUtf8('x'))
  const client = [
    cutText(6, 'hello'),
    caps,
    extendedCutText(6, 2),
    extendedCutText(6, 4),
    extendedCutText(6, 8),
  ]
  const out = readyFilter(noRights).fromClient(flat([...client, extendedCutText(6, 16, given)]))
  expect(flat(out.toServer)).toEqual(caps)
  expect(out.events).toEqual([
    { kind: 'clipboard-blocked', direction: 'in', bytes: 5, why: 'right' },
    { kind: 'clipboard-blocked', direction: 'in', bytes: 0, why: 'right' },
    { kind: 'clipboard-blocked', direction: 'in', bytes: given.length, why: 'right' },
  ])
  const server = [
    cutText(3, 'hello'),
    extendedCutText(3, 2),
    extendedCutText(3, 8),
    extendedCutText(3, 16, given),
  ]
  expect(readyFilter(noRights).fromServer(flat(server)).toClient).toEqual([])
})

test('one direction does not open the other', () => {
  const inOnly = readyFilter({ ...allRights, clipboardOut: false })
  expect(flat(inOnly.fromClient(extendedCutText(6, 2)).toServer)).toHaveLength(0)
  expect(flat(inOnly.fromClient(cutText(6, 'a')).toServer)).toHaveLength(9)
  expect(flat(inOnly.fromServer(cutText(3, 'a')).toClient)).toHaveLength(0)
  expect(flat(inOnly.fromServer(extendedCutText(3, 2)).toClient)).toHaveLength(12)
})

test('blocks text beyond the limit, plain or compressed', () => {
  const filter = readyFilter({ ...allRights, clipboardMaxBytes: 10 })
  const long = provided(new Uint8Array(11))
  const out = filter.fromClient(
    flat([cutText(6, '12345678901'), extendedCutText(6, 16, long), cutText(6, '1234567890')]),
  )
  expect(flat(out.toServer)).toEqual(cutText(6, '1234567890'))
  expect(out.events).toEqual([
    { kind: 'clipboard-blocked', direction: 'in', bytes: 11, why: 'size' },
    { kind: 'clipboard-blocked', direction: 'in', bytes: long.length, why: 'size' },
    { kind: 'clipboard-passed', direction: 'in', bytes: 10 },
  ])
})

test('asks again for the right when the whole text is there', () => {
  const filter = readyFilter()
  const message = cutText(6, 'secret')
  filter.fromClient(message.subarray(0, 10))
  filter.setRights(noRights)
  const out = filter.fromClient(message.subarray(10))
  expect(out.toServer).toEqual([])
  expect(out.events).toEqual([{ kind: 'clipboard-blocked', direction: 'in', bytes: 6, why: 'right' }])
})

test('nothing of its own ever lands inside a message of the viewer', () => {
  const filter = readyFilter()
  filter.fromClient(flat([setEncodings(1, 7), updateRequest(), keyEvent(true, 65)]))
  const message = cutText(6, 'half a text')
  expect(filter.fromClient(message.subarray(0, 10)).toServer).toEqual([])
  expect(flat(filter.setRights({ ...allRights, input: false }).toServer)).toEqual(keyEvent(false, 65))
  expect(flat(filter.fromClient(message.subarray(10)).toServer)).toEqual(message)
})

test('a format set before the first request holds at once', () => {
  const filter = readyFilter()
  const set = setPixelFormat(bgr233)
  expect(flat(filter.fromClient(set).toServer)).toEqual(set)
  const picture = concatBytes(update(1, rectangle(0, 0, 4, 1, 0, [1, 2, 3, 4])), bell)
  expect(flat(filter.fromServer(picture).toClient)).toEqual(picture)
})

test('a format set later holds from the answer to a fence on', () => {
  const filter = readyFilter()
  filter.fromClient(flat([setEncodings(0, -312), updateRequest()]))
  filter.fromServer(fence(0x8000_0000, new Uint8Array(1)))
  const sent = flat(filter.fromClient(setPixelFormat(bgr233)).toServer)
  const payload = sent.subarray(9, sent.length - 20)
  expect(sent).toEqual(concatBytes(fence(0x8000_0004, payload), setPixelFormat(bgr233)))
  const old = update(1, rectangle(0, 0, 1, 1, 0, [1, 2, 3, 4]))
  const small = update(1, rectangle(0, 0, 1, 1, 0, [1]))
  const out = filter.fromServer(concatBytes(old, fence(4, payload), small, bell))
  expect(flat(out.toClient)).toEqual(concatBytes(old, small, bell))
})

test('refuses a later change of format when the server cannot say from where on it holds', () => {
  const filter = readyFilter()
  filter.fromClient(flat([setEncodings(0), updateRequest(), setPixelFormat(bgrx)]))
  expect(() => filter.fromClient(setPixelFormat(bgr233))).toThrow(code('RFB_PIXEL_FORMAT'))
})

test('refuses colour maps and colours that straddle bytes', () => {
  const map = bgrx.with(3, 0)
  const straddling = bgrx.with(10, 15)
  for (const format of [map, straddling]) {
    expect(() => readyFilter().fromClient(setPixelFormat(format))).toThrow(code('RFB_PIXEL_FORMAT'))
  }
})

test('frozen, nothing is seen or done; thawed, what was held comes and the whole picture is asked for', () => {
  const filter = readyFilter()
  filter.fromClient(flat([updateRequest(), keyEvent(true, 65)]))
  expect(flat(filter.freeze().toServer)).toEqual(keyEvent(false, 65))
  const picture = update(1, rectangle(0, 0, 1, 1, 0, [1, 2, 3, 4]))
  expect(filter.fromServer(picture).toClient).toEqual([])
  const answer = fence(0, Uint8Array.of(1))
  const client = filter.fromClient(flat([keyEvent(true, 65), cutText(6, 'x'), updateRequest(), answer]))
  expect(flat(client.toServer)).toEqual(answer)
  const thawed = filter.thaw()
  expect(flat(thawed.toClient)).toEqual(picture)
  expect(flat(thawed.toServer)).toEqual(updateRequest(false))
})

test('a server that is not paused while frozen is dropped, not remembered for ever', () => {
  const filter = readyFilter()
  filter.freeze()
  const megabyte = new Uint8Array(1024 * 1024)
  expect(() => {
    for (let count = 0; count < 65; count++) filter.fromServer(megabyte)
  }).toThrow(code('RFB_FROZEN'))
})

test('passes a large rectangle as views of what came, without collecting it', () => {
  const filter = readyFilter()
  filter.fromServer(update(1, rectangle(0, 0, 1000, 1000, 0)))
  const piece = new Uint8Array(1_000_000)
  const out = filter.fromServer(piece)
  expect(out.toClient).toHaveLength(1)
  expect(out.toClient[0]?.buffer).toBe(piece.buffer)
})

// Attacks: the viewer or the server means harm.

test('a text that claims gigabytes is told of at once, skipped and never collected', () => {
  const filter = readyFilter()
  const endless = Uint8Array.of(6, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff)
  expect(filter.fromClient(endless).events).toEqual([
    { kind: 'clipboard-blocked', direction: 'in', bytes: 0x7fffffff, why: 'size' },
  ])
  expect(filter.fromClient(new Uint8Array(1000)).toServer).toEqual([])
  const extended = Uint8Array.of(6, 0, 0, 0, 0x80, 0, 0, 1, 16, 0, 0, 1)
  expect(readyFilter().fromClient(extended).events).toEqual([
    { kind: 'clipboard-blocked', direction: 'in', bytes: 0x7ffffffb, why: 'size' },
  ])
})

test.each([
  ['an extended message of one byte', Uint8Array.of(6, 0, 0, 0, 0xff, 0xff, 0xff, 0xff)],
  ['a request with a message hidden behind it', extendedCutText(6, 2, cutText(6, 'secret'))],
  ['capabilities with a message hidden behind them', extendedCutText(6, 1, new Uint8Array(17))],
  ['several actions at once', extendedCutText(6, 24)],
  [
    'texts that are shorter than they say',
    extendedCutText(6, 16, deflateSync(Uint8Array.of(0, 0, 0, 9, 1, 2))),
  ],
])('refuses %s', (_, message) => {
  expect(() => readyFilter().fromClient(message)).toThrow(code('RFB_MALFORMED'))
})

test('a zip bomb is blocked by its inflated size', () => {
  const bomb = extendedCutText(6, 16, provided(new Uint8Array(50_000_000)))
  const out = readyFilter().fromClient(bomb)
  expect(out.toServer).toEqual([])
  expect(out.events).toEqual([expect.objectContaining({ kind: 'clipboard-blocked', why: 'size' })])
})

test.each([
  ['an unknown message', Uint8Array.of(77), 'RFB_UNKNOWN_MESSAGE'],
  ['an unknown QEMU message', qemuKeyEvent(true, 1, 1).with(1, 1), 'RFB_UNKNOWN_MESSAGE'],
  ['an endless list of encodings', Uint8Array.of(2, 0, 0xff, 0xff), 'RFB_TOO_LONG'],
  [
    'an endless fence',
    concatBytes(Uint8Array.of(248, 0, 0, 0, 0, 0, 0, 0), Uint8Array.of(65)),
    'RFB_TOO_LONG',
  ],
])('refuses %s of the viewer', (_, message, expected) => {
  expect(() => readyFilter().fromClient(message)).toThrow(code(expected))
})

test("a viewer cannot answer in the server's name: the filter's own fences are refused from it", () => {
  const filter = readyFilter()
  filter.fromClient(flat([setEncodings(0, -312), updateRequest()]))
  filter.fromServer(fence(0x8000_0000, new Uint8Array(1)))
  const own = flat(filter.fromClient(setPixelFormat(bgr233)).toServer)
  expect(() => filter.fromClient(own.subarray(0, own.length - 20))).toThrow(code('RFB_MALFORMED'))
})

test('text hidden behind fences is still text', () => {
  const filter = readyFilter(noRights)
  const message = fence(0x8000_0003, Uint8Array.of(6, 0, 0, 0, 0, 0, 0, 0))
  expect(flat(filter.fromClient(concatBytes(message, cutText(6, 'x'), message)).toServer)).toEqual(
    concatBytes(message, message),
  )
})

test('refuses unknown messages of the server', () => {
  expect(() => readyFilter().fromServer(Uint8Array.of(255))).toThrow(code('RFB_UNKNOWN_MESSAGE'))
  expect(() => readyFilter().fromServer(fence(0, encodeUtf8('rfb-filter format')))).toThrow(
    code('RFB_MALFORMED'),
  )
})

// Properties

const clientMessages = fc.oneof(
  fc.constant(setEncodings(1, 7, -224, -312)),
  fc.constant(updateRequest()),
  fc.boolean().map((down) => keyEvent(down, 65)),
  fc.nat(127).map((buttons) => pointerEvent(buttons, 1, 2)),
  fc.string().map((text) => cutText(6, text)),
  fc.uint8Array().map((text) => extendedCutText(6, 16, provided(text))),
)
const serverMessages = fc.oneof(
  fc.constant(bell),
  fc.constant(Uint8Array.of(150)),
  fc.string().map((text) => cutText(3, text)),
  fc.constant(update(1, rectangle(0, 0, 4, 4, 0, new Uint8Array(64)))),
  fc.constant(
    update(
      0xffff,
      rectangle(90, 40, 9, 5, 7, [0x40, 1, 2], new Uint8Array(9), [4, 1, 2, 3, 4]),
      rectangle(0, 0, 0, 0, -224),
    ),
  ),
  fc.constant(Uint8Array.of(1, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6)),
)

test('byte by byte gives the same as all at once', () => {
  fc.assert(
    fc.property(
      fc.array(clientMessages, { maxLength: 6 }),
      fc.array(serverMessages, { maxLength: 6 }),
      fc.boolean(),
      (fromClient, fromServer, mark) => {
        const rights = { ...allRights, watermark: mark ? ['a mark'] : undefined }
        const run = (
          feed: (send: (bytes: Uint8Array) => RfbOutput, bytes: Uint8Array) => RfbOutput[],
        ): unknown => {
          const filter = readyFilter(rights)
          return gathered([
            ...feed((bytes) => filter.fromClient(bytes), flat(fromClient)),
            ...feed((bytes) => filter.fromServer(bytes), flat(fromServer)),
          ])
        }
        const whole = run((send, bytes) => [send(bytes)])
        // One buffer for all, as a socket's read buffer: whatever was kept of it must have been copied.
        const single = run((send, bytes) => {
          const buffer = new Uint8Array(1)
          return Array.from(bytes, (byte) => {
            buffer[0] = byte
            const out = send(buffer)
            return { ...out, toClient: [flat(out.toClient)], toServer: [flat(out.toServer)] }
          })
        })
        expect(single).toEqual(whole)
      },
    ),
    { numRuns: 40 },
  )
})

test('arbitrary bytes of either side are parsed or refused with a code', () => {
  const message = fc.tuple(
    fc.constantFrom(0, 1, 2, 3, 4, 5, 6, 150, 248, 250, 251, 255),
    fc.uint8Array({ maxLength: 60 }),
  )
  const piece = fc.oneof(
    fc.uint8Array(),
    message.map(([type, rest]) => Uint8Array.of(type, ...rest)),
  )
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), piece)), fc.boolean(), (pieces, ready) => {
      const filter = ready ? readyFilter({ ...allRights, watermark: ['x'] }) : newFilter()
      try {
        for (const [isServer, bytes] of pieces) send(filter, isServer, bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(RfbError)
      }
    }),
    { numRuns: 500 },
  )
})

test('what the viewer sends to the server is always well formed', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(clientMessages, fc.constant(pointerEvent(0x80, 1, 1)))), (messages) => {
      const out = flat(readyFilter().fromClient(flat(messages)).toServer)
      const server = readyFilter()
      expect(flat(server.fromClient(out).toServer)).toEqual(out)
    }),
    { numRuns: 50 },
  )
})

test('a window of 2 × 2 pixels with a watermark is no error', () => {
  const filter = readyFilter({ ...allRights, watermark: ['name'] }, 2, 2)
  const picture = update(1, rectangle(0, 0, 2, 2, 0, new Uint8Array(16)))
  expect(flat(filter.fromServer(picture).toClient)).toEqual(picture)
})
