import type { ByteFeed, Parser, Sink } from './byte-feed.ts'
import { viewOf } from './byte-feed.ts'
import { encoding } from './encodings.ts'
import type { PixelFormat } from './pixel-format.ts'
import { RfbError } from './rfb-error.ts'

/** The 12 bytes before each rectangle's data. */
export interface RectangleHeader {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
  readonly encoding: number
}

/** Longest desktop name, bytes. */
export const maxNameBytes = 64 * 1024

/** Spec: RFC 6143 section 7.6.1: x u16 | y u16 | width u16 | height u16 | encoding s32 */
export function decodeRectangleHeader(bytes: Uint8Array): RectangleHeader {
  const view = viewOf(bytes)
  return {
    x: view.getUint16(0),
    y: view.getUint16(2),
    width: view.getUint16(4),
    height: view.getUint16(6),
    encoding: view.getInt32(8),
  }
}

/** True when the rectangle draws on the screen (rather than telling of a cursor, a size or a feature). */
export function drawsPixels(rectangle: RectangleHeader): boolean {
  return drawing.has(rectangle.encoding)
}

/**
 * Passes the data that follows a rectangle's header to `sink`, as it arrives; no pixel is collected.
 *
 * @throws {RfbError} RFB_UNKNOWN_ENCODING, RFB_MALFORMED, RFB_TOO_LONG
 */
export function passRectangle(
  feed: ByteFeed,
  rectangle: RectangleHeader,
  format: PixelFormat,
  sink: Sink,
): Parser {
  const pixels = rectangle.width * rectangle.height
  if (pixels === 0 && compressed.has(rectangle.encoding)) throw malformed('an empty compressed rectangle')
  switch (rectangle.encoding) {
    case encoding.raw:
      return feed.pass(pixels * format.bytesPerPixel, sink)
    case encoding.copyRect:
    case encoding.vmwareLed:
      return feed.pass(4, sink)
    case encoding.rre:
      return passRre(feed, pixels, format, sink)
    case encoding.hextile:
      return passHextile(feed, rectangle, format, sink)
    case encoding.zlib:
    case encoding.zrle:
      return passCounted(feed, sink)
    case encoding.tight:
    case encoding.tightPng:
      return passTight(feed, rectangle, format, sink)
    case encoding.cursor:
      return feed.pass(pixels * format.bytesPerPixel + maskBytes(rectangle), sink)
    case encoding.xCursor:
      return feed.pass(pixels === 0 ? 0 : 6 + 2 * maskBytes(rectangle), sink)
    case encoding.cursorWithAlpha:
      return passAlphaCursor(feed, pixels, sink)
    case encoding.vmwareCursor:
      return passVmwareCursor(feed, pixels, sink)
    case encoding.extendedDesktopSize:
      return passScreens(feed, sink)
    case encoding.desktopName:
      return passCounted(feed, sink, maxNameBytes)
    case encoding.qemuLed:
      return feed.pass(1, sink)
    case encoding.desktopSize:
    case encoding.lastRect:
    case encoding.qemuKey:
    case encoding.extendedMouseButtons:
    case encoding.vmwareCursorPosition:
      return feed.pass(0, sink)
    default:
      throw new RfbError('RFB_UNKNOWN_ENCODING', `the server sent encoding ${rectangle.encoding}`)
  }
}

const compressed: ReadonlySet<number> = new Set([
  encoding.rre,
  encoding.hextile,
  encoding.zlib,
  encoding.zrle,
  encoding.tight,
  encoding.tightPng,
])
const drawing: ReadonlySet<number> = new Set([...compressed, encoding.raw, encoding.copyRect])

function* passByte(feed: ByteFeed, sink: Sink): Parser<number> {
  const bytes = yield* feed.take(1)
  sink(bytes)
  return bytes[0] ?? 0
}

function* passLength(feed: ByteFeed, sink: Sink): Parser<number> {
  const bytes = yield* feed.take(4)
  sink(bytes)
  return viewOf(bytes).getUint32(0)
}

/** length u32 | data */
function* passCounted(feed: ByteFeed, sink: Sink, maxBytes = Number.POSITIVE_INFINITY): Parser {
  const length = yield* passLength(feed, sink)
  if (length > maxBytes) throw new RfbError('RFB_TOO_LONG', `the server sent a text of ${length} bytes`)
  yield* feed.pass(length, sink)
}

/** RFC 6143 section 7.7.3: count u32 | background | count × (pixel | x, y, width, height u16) */
function* passRre(feed: ByteFeed, pixels: number, format: PixelFormat, sink: Sink): Parser {
  const count = yield* passLength(feed, sink)
  if (count > pixels) throw malformed(`${count} RRE subrectangles in ${pixels} pixels`)
  yield* feed.pass(format.bytesPerPixel + count * (format.bytesPerPixel + 8), sink)
}

/** RFC 6143 section 7.7.4: 16 × 16 tiles, each with a mask: 1 raw, 2 background, 4 foreground, 8 subrectangles, 16 coloured */
function* passHextile(
  feed: ByteFeed,
  { width, height }: RectangleHeader,
  { bytesPerPixel }: PixelFormat,
  sink: Sink,
): Parser {
  for (let y = 0; y < height; y += 16) {
    for (let x = 0; x < width; x += 16) {
      const mask = yield* passByte(feed, sink)
      if (mask > 31) throw malformed(`hextile mask ${mask}`)
      if (mask & 1) {
        yield* feed.pass(Math.min(16, width - x) * Math.min(16, height - y) * bytesPerPixel, sink)
        continue
      }
      const colours = (mask & 2 ? 1 : 0) + (mask & 4 ? 1 : 0)
      if (colours > 0) yield* feed.pass(colours * bytesPerPixel, sink)
      if (mask & 8) {
        const count = yield* passByte(feed, sink)
        yield* feed.pass(count * (2 + (mask & 16 ? bytesPerPixel : 0)), sink)
      }
    }
  }
}

/** rfbproto "Tight Encoding". Data below 12 bytes comes uncompressed and without a length. */
function* passTight(feed: ByteFeed, rectangle: RectangleHeader, format: PixelFormat, sink: Sink): Parser {
  yield* feed.pass(yield* passTightHead(feed, rectangle, format, sink), sink)
}

/** Passes everything before the data, and returns the length of these. */
function* passTightHead(
  feed: ByteFeed,
  rectangle: RectangleHeader,
  format: PixelFormat,
  sink: Sink,
): Parser<number> {
  const control = (yield* passByte(feed, sink)) >> 4
  if (control === 8) return format.bytesPerTightPixel
  if (control === 9 || (control === 10 && rectangle.encoding === encoding.tightPng)) {
    return yield* passCompactLength(feed, sink)
  }
  if (control > 7) throw malformed(`Tight compression control ${control}`)
  const filter = control & 4 ? yield* passByte(feed, sink) : 0
  const { width, height } = rectangle
  let rowBytes = width * format.bytesPerTightPixel
  if (filter === 1) {
    const colours = (yield* passByte(feed, sink)) + 1
    yield* feed.pass(colours * format.bytesPerTightPixel, sink)
    rowBytes = colours <= 2 ? Math.ceil(width / 8) : width
  } else if (filter > 2) throw malformed(`Tight filter ${filter}`)
  const bytes = rowBytes * height
  return bytes < 12 ? bytes : yield* passCompactLength(feed, sink)
}

/** One to three bytes, seven bits each, the lowest first; the third has eight. */
function* passCompactLength(feed: ByteFeed, sink: Sink): Parser<number> {
  const first = yield* passByte(feed, sink)
  if (first < 0x80) return first
  const second = yield* passByte(feed, sink)
  const low = (first & 0x7f) | ((second & 0x7f) << 7)
  return second < 0x80 ? low : low | ((yield* passByte(feed, sink)) << 14)
}

/** rfbproto "Cursor With Alpha": encoding s32 | pixels; servers use Raw only */
function* passAlphaCursor(feed: ByteFeed, pixels: number, sink: Sink): Parser {
  const inner = yield* passLength(feed, sink)
  if (inner !== encoding.raw) throw malformed(`an alpha cursor in encoding ${inner}`)
  yield* feed.pass(pixels * 4, sink)
}

/** rfbproto "ExtendedDesktopSize": count u8 | 3 padding | count × 16 bytes */
function* passScreens(feed: ByteFeed, sink: Sink): Parser {
  const count = yield* passByte(feed, sink)
  yield* feed.pass(3 + count * 16, sink)
}

/** rfbproto "VMware Cursor": type u8 | padding u8 | AND and XOR mask (0) or RGBA (1) */
function* passVmwareCursor(feed: ByteFeed, pixels: number, sink: Sink): Parser {
  const head = yield* feed.take(2)
  sink(head)
  const type = head[0] ?? 0
  if (type > 1) throw malformed(`VMware cursor type ${type}`)
  yield* feed.pass(pixels * (type === 0 ? 8 : 4), sink)
}

function maskBytes({ width, height }: RectangleHeader): number {
  return Math.ceil(width / 8) * height
}

function malformed(what: string): RfbError {
  return new RfbError('RFB_MALFORMED', `the server sent ${what}`)
}
