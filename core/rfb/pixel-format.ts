import { viewOf } from './byte-feed.ts'
import { RfbError } from './rfb-error.ts'

/** How the server writes a pixel. Spec: RFC 6143 section 7.4. */
export interface PixelFormat {
  readonly bytesPerPixel: 1 | 2 | 4
  readonly bigEndian: boolean
  readonly max: Colour
  readonly shift: Colour
  /** Bytes of a TPIXEL: 3 in the 8:8:8 formats, else those of a pixel. */
  readonly bytesPerTightPixel: 1 | 2 | 3 | 4
  /** The 13 meaningful bytes as text: equal for equal formats. */
  readonly identity: string
}

/** Red, green, blue. */
export type Colour = readonly [red: number, green: number, blue: number]

/**
 * Decodes PIXEL_FORMAT: bpp u8 | depth u8 | big-endian u8 | true colour u8 | max 3 × u16 | shift 3 × u8 | 3 padding
 *
 * Colour maps are refused (nothing of today asks for them), and so are 32-bit formats whose colours straddle bytes:
 * servers disagree about their TPIXEL, and the filter must know the length of each.
 *
 * @throws {RfbError} RFB_PIXEL_FORMAT
 */
export function decodePixelFormat(bytes: Uint8Array): PixelFormat {
  const view = viewOf(bytes)
  const bits = view.getUint8(0)
  const depth = view.getUint8(1)
  const max = [view.getUint16(4), view.getUint16(6), view.getUint16(8)] as const
  const shift = [view.getUint8(10), view.getUint8(11), view.getUint8(12)] as const
  const is888 = bits === 32 && depth === 24 && max.every((value) => value === 255)
  if (bits !== 8 && bits !== 16 && bits !== 32) throw refused(`${bits} bits per pixel; expected 8, 16 or 32`)
  if (view.getUint8(3) === 0) throw refused('a colour map; expected true colour')
  if (shift.some((value) => value >= bits)) throw refused(`a shift beyond ${bits} bits`)
  if (is888 && shift.some((value) => value % 8 !== 0)) throw refused('8-bit colours that straddle bytes')
  const bytesPerPixel = bits === 8 ? 1 : bits === 16 ? 2 : 4
  return {
    bytesPerPixel,
    bigEndian: view.getUint8(2) !== 0,
    max,
    shift,
    bytesPerTightPixel: is888 ? 3 : bytesPerPixel,
    identity: bytes.subarray(0, 13).join(' '),
  }
}

/** One pixel of a colour (each part 0–255) in the format. */
export function encodePixel(format: PixelFormat, colour: Colour): Uint8Array {
  let value = 0
  for (const part of [0, 1, 2] as const) {
    value |= Math.round((colour[part] * format.max[part]) / 255) << format.shift[part]
  }
  const bytes = new Uint8Array(format.bytesPerPixel)
  for (let at = 0; at < bytes.length; at++) {
    bytes[at] = value >>> (8 * (format.bigEndian ? bytes.length - 1 - at : at))
  }
  return bytes
}

/** One TPIXEL of a colour. Spec: rfbproto "Tight Encoding": red, green, blue whatever the shifts. */
export function encodeTightPixel(format: PixelFormat, colour: Colour): Uint8Array {
  return format.bytesPerTightPixel === 3 ? Uint8Array.from(colour) : encodePixel(format, colour)
}

function refused(what: string): RfbError {
  return new RfbError('RFB_PIXEL_FORMAT', `the pixel format has ${what}`)
}
