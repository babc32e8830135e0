import { expect, test } from 'vitest'
import { concatBytes } from '#core/bytes/index.ts'
import { bgr233, flat, readyFilter, rectangle, setPixelFormat, update, updateRequest } from './rfb.fixture.ts'

const bell = Uint8Array.of(2)
const bytes = (length: number): Uint8Array => new Uint8Array(length).fill(0x55)

/** The length of a rectangle is known exactly if the message after it is understood. */
const cases: readonly (readonly [name: string, wide: Uint8Array, narrow?: Uint8Array])[] = [
  ['Raw', rectangle(0, 0, 5, 3, 0, bytes(60)), rectangle(0, 0, 5, 3, 0, bytes(15))],
  ['empty Raw', rectangle(0, 0, 0, 3, 0)],
  ['CopyRect', rectangle(0, 0, 5, 3, 1, bytes(4))],
  [
    'RRE',
    rectangle(0, 0, 5, 3, 2, [0, 0, 0, 2], bytes(28)),
    rectangle(0, 0, 5, 3, 2, [0, 0, 0, 2], bytes(19)),
  ],
  [
    'Hextile: raw tile, then background only, then nothing',
    rectangle(0, 0, 33, 2, 5, [1], bytes(128), [2], bytes(4), [0]),
  ],
  ['Hextile: coloured subrectangles', rectangle(0, 0, 8, 8, 5, [2 + 8 + 16], bytes(4), [3], bytes(18))],
  [
    'Hextile: plain subrectangles',
    rectangle(0, 0, 8, 8, 5, [4 + 8], bytes(4), [3], bytes(6)),
    rectangle(0, 0, 8, 8, 5, [4 + 8], bytes(1), [3], bytes(6)),
  ],
  ['Hextile: partial raw tile in the corner', rectangle(0, 0, 17, 17, 5, [0, 0, 0, 1], bytes(4))],
  ['Zlib', rectangle(0, 0, 5, 3, 6, [0, 0, 0, 7], bytes(7))],
  ['ZRLE', rectangle(0, 0, 5, 3, 16, [0, 0, 0, 7], bytes(7))],
  ['Tight fill', rectangle(0, 0, 5, 3, 7, [0x80], bytes(3)), rectangle(0, 0, 5, 3, 7, [0x80], bytes(1))],
  ['Tight JPEG, two-byte length', rectangle(0, 0, 5, 3, 7, [0x90, 0x81, 0x01], bytes(129))],
  ['Tight, below 12 bytes', rectangle(0, 0, 3, 1, 7, [0x00], bytes(9))],
  ['Tight, compressed, three-byte length', rectangle(0, 0, 5, 3, 7, [0x1f, 0x80, 0x80, 0x01], bytes(16384))],
  ['Tight palette of two', rectangle(0, 0, 9, 5, 7, [0x40, 1, 1], bytes(6), bytes(10))],
  ['Tight palette of three', rectangle(0, 0, 9, 5, 7, [0x40, 1, 2], bytes(9), [4], bytes(4))],
  ['Tight gradient', rectangle(0, 0, 9, 5, 7, [0x40, 2, 4], bytes(4))],
  ['TightPNG', rectangle(0, 0, 9, 5, -260, [0xa0, 4], bytes(4))],
  [
    'Cursor',
    rectangle(1, 1, 9, 2, -239, bytes(72), bytes(4)),
    rectangle(1, 1, 9, 2, -239, bytes(18), bytes(4)),
  ],
  ['XCursor', rectangle(1, 1, 9, 2, -240, bytes(6), bytes(8))],
  ['empty XCursor', rectangle(1, 1, 0, 0, -240)],
  ['CursorWithAlpha', rectangle(1, 1, 2, 2, -314, [0, 0, 0, 0], bytes(16))],
  ['VMware cursor with masks', rectangle(1, 1, 2, 2, 0x574d5664, [0, 0], bytes(32))],
  ['VMware cursor with alpha', rectangle(1, 1, 2, 2, 0x574d5664, [1, 0], bytes(16))],
  ['VMware cursor position', rectangle(1, 1, 0, 0, 0x574d5666)],
  ['DesktopSize', rectangle(0, 0, 300, 200, -223)],
  ['ExtendedDesktopSize', rectangle(0, 0, 300, 200, -308, [2, 0, 0, 0], bytes(32))],
  ['DesktopName', rectangle(0, 0, 0, 0, -307, [0, 0, 0, 3], bytes(3))],
  ['QEMU key', rectangle(0, 0, 0, 0, -258)],
  ['QEMU LED', rectangle(0, 0, 0, 0, -261, [1])],
  ['VMware LED', rectangle(0, 0, 0, 0, 0x574d5668, bytes(4))],
  ['extended mouse buttons', rectangle(0, 0, 0, 0, -316)],
]

for (const [name, wide, narrow] of cases) {
  test(`knows the length of ${name}`, () => {
    const stream = concatBytes(update(2, wide, wide), bell)
    expect(flat(readyFilter().fromServer(stream).toClient)).toEqual(stream)
    const open = concatBytes(update(0xffff, wide, rectangle(0, 0, 0, 0, -224)), bell)
    expect(flat(readyFilter().fromServer(open).toClient)).toEqual(open)
    if (narrow === undefined) return
    const filter = readyFilter()
    filter.fromClient(concatBytes(setPixelFormat(bgr233), updateRequest()))
    const small = concatBytes(update(1, narrow), bell)
    expect(flat(filter.fromServer(small).toClient)).toEqual(small)
  })
}

const broken: readonly (readonly [name: string, data: Uint8Array, code: string])[] = [
  ['an unknown encoding', rectangle(0, 0, 5, 3, 50), 'RFB_UNKNOWN_ENCODING'],
  ['more RRE subrectangles than pixels', rectangle(0, 0, 5, 3, 2, [0xff, 0xff, 0xff, 0xff]), 'RFB_MALFORMED'],
  ['an unknown hextile mask', rectangle(0, 0, 5, 3, 5, [32]), 'RFB_MALFORMED'],
  ['an unknown Tight compression', rectangle(0, 0, 5, 3, 7, [0xa0]), 'RFB_MALFORMED'],
  ['an unknown Tight filter', rectangle(0, 0, 5, 3, 7, [0x40, 3]), 'RFB_MALFORMED'],
  ['an empty Tight rectangle', rectangle(0, 0, 0, 3, 7), 'RFB_MALFORMED'],
  ['an alpha cursor that is not raw', rectangle(0, 0, 5, 3, -314, [0, 0, 0, 7]), 'RFB_MALFORMED'],
  ['an unknown VMware cursor', rectangle(0, 0, 5, 3, 0x574d5664, [2, 0]), 'RFB_MALFORMED'],
  ['an endless desktop name', rectangle(0, 0, 0, 0, -307, [0, 1, 0, 1]), 'RFB_TOO_LONG'],
]

for (const [name, data, code] of broken) {
  test(`refuses ${name}`, () => {
    expect(() => readyFilter().fromServer(update(1, data))).toThrow(expect.objectContaining({ code }))
  })
}
