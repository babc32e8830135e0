import { constants, deflateSync, inflateSync } from 'node:zlib'
import { concatBytes, encodeUtf8, Writer } from '#core/bytes/index.ts'
import type { RfbFilter, RfbOutput, RfbRights } from './index.ts'
import { createRfbFilter } from './index.ts'

/** Everything allowed, nothing drawn. */
export const allRights: RfbRights = {
  input: true,
  clipboardIn: true,
  clipboardOut: true,
  clipboardMaxBytes: 1000,
  watermark: undefined,
}

export const noRights: RfbRights = { ...allRights, input: false, clipboardIn: false, clipboardOut: false }

/** 32 bits, depth 24, little-endian, blue lowest: what Xvnc speaks by itself. */
export const bgrx: Uint8Array = Uint8Array.of(32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0)
/** 8 bits: 3 red, 3 green, 2 blue. */
export const bgr233: Uint8Array = Uint8Array.of(8, 8, 0, 1, 0, 7, 0, 7, 0, 3, 0, 3, 6, 0, 0, 0)

function inflate(data: Uint8Array, maxBytes: number): Uint8Array | undefined {
  try {
    return inflateSync(data, { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: Math.max(1, maxBytes) })
  } catch {
    return undefined
  }
}

export function newFilter(rights: RfbRights = allRights): RfbFilter {
  return createRfbFilter({ rights, inflate })
}

export const version: Uint8Array = encodeUtf8('RFB 003.008\n')

/** All the server says before its first message; the screen is 200 × 100 unless told. */
export function serverHandshake(width = 200, height = 100): Uint8Array {
  const init = new Writer(100).u16(width).u16(height).bytes(bgrx).u32(4).utf8('desk').finish()
  return concatBytes(version, Uint8Array.of(2, 2, 1), Uint8Array.of(0, 0, 0, 0), init)
}

/** All the viewer says before its first message. */
export const clientHandshake: Uint8Array = concatBytes(version, Uint8Array.of(1, 0))

/** A filter past its handshake. */
export function readyFilter(rights: RfbRights = allRights, width?: number, height?: number): RfbFilter {
  const filter = newFilter(rights)
  filter.fromServer(serverHandshake(width, height))
  filter.fromClient(clientHandshake)
  return filter
}

export function flat(pieces: readonly Uint8Array[]): Uint8Array {
  return concatBytes(...pieces)
}

/** Both streams of several outputs, and all events, as plain data. */
export function gathered(outputs: readonly RfbOutput[]): { toClient: number[]; toServer: number[] } {
  return {
    toClient: [...flat(outputs.flatMap(({ toClient }) => toClient))],
    toServer: [...flat(outputs.flatMap(({ toServer }) => toServer))],
  }
}

export function setPixelFormat(format: Uint8Array): Uint8Array {
  return concatBytes(Uint8Array.of(0, 0, 0, 0), format)
}

export function setEncodings(...numbers: number[]): Uint8Array {
  const writer = new Writer(4 + 4 * numbers.length).u8(2).u8(0).u16(numbers.length)
  for (const number of numbers) writer.i32(number)
  return writer.finish()
}

export function updateRequest(incremental = true): Uint8Array {
  return new Writer(10)
    .u8(3)
    .u8(incremental ? 1 : 0)
    .u16(0)
    .u16(0)
    .u16(200)
    .u16(100)
    .finish()
}

export function keyEvent(down: boolean, keysym: number): Uint8Array {
  return new Writer(8)
    .u8(4)
    .u8(down ? 1 : 0)
    .u16(0)
    .u32(keysym)
    .finish()
}

export function qemuKeyEvent(down: boolean, keysym: number, keycode: number): Uint8Array {
  return new Writer(12)
    .u8(255)
    .u8(0)
    .u16(down ? 1 : 0)
    .u32(keysym)
    .u32(keycode)
    .finish()
}

export function pointerEvent(buttons: number, x: number, y: number): Uint8Array {
  return new Writer(6).u8(5).u8(buttons).u16(x).u16(y).finish()
}

/** ClientCutText (6) or ServerCutText (3). */
export function cutText(type: 6 | 3, text: string): Uint8Array {
  const bytes = encodeUtf8(text)
  return new Writer(8 + bytes.length).u8(type).u8(0).u16(0).u32(bytes.length).bytes(bytes).finish()
}

/** Actions: 1 caps, 2 request, 4 peek, 8 notify, 16 provide; format 1 is text. */
export function extendedCutText(
  type: 6 | 3,
  actions: number,
  data: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const writer = new Writer(12 + data.length).u8(type).u8(0).u16(0)
  return writer
    .i32(-(4 + data.length))
    .u8(actions)
    .u16(0)
    .u8(1)
    .bytes(data)
    .finish()
}

/** The data of `provide`, as noVNC makes it or, without its end, as TigerVNC does. */
export function provided(text: Uint8Array, finish: boolean = true): Uint8Array {
  const plain = new Writer(4 + text.length).u32(text.length).bytes(text).finish()
  return deflateSync(plain, { finishFlush: finish ? constants.Z_FINISH : constants.Z_SYNC_FLUSH })
}

export function fence(flags: number, payload: Uint8Array): Uint8Array {
  return new Writer(100).u8(248).u8(0).u16(0).u32(flags).u8(payload.length).bytes(payload).finish()
}

export function update(count: number, ...rectangles: Uint8Array[]): Uint8Array {
  return concatBytes(new Writer(4).u8(0).u8(0).u16(count).finish(), ...rectangles)
}

export function rectangle(
  x: number,
  y: number,
  width: number,
  height: number,
  encoding: number,
  ...data: (Uint8Array | number[])[]
): Uint8Array {
  const header = new Writer(12).u16(x).u16(y).u16(width).u16(height).i32(encoding).finish()
  return concatBytes(header, ...data.map((part) => Uint8Array.from(part)))
}
