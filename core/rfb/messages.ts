import { Writer } from '#core/bytes/index.ts'
import { encoding } from './encodings.ts'

/** An area of the screen, pixels. */
export interface Area {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

/** Types of messages from the viewer. Source: RFC 6143 section 7.5; rfbproto. */
export const clientMessage = {
  setPixelFormat: 0,
  setEncodings: 2,
  updateRequest: 3,
  keyEvent: 4,
  pointerEvent: 5,
  cutText: 6,
  continuousUpdates: 150,
  fence: 248,
  xvp: 250,
  setDesktopSize: 251,
  qemu: 255,
} as const

/** Types of messages from the server. Source: RFC 6143 section 7.6; rfbproto. */
export const serverMessage = {
  update: 0,
  colourMap: 1,
  bell: 2,
  cutText: 3,
  endOfContinuousUpdates: 150,
  fence: 248,
} as const

/** Flags of a fence. Source: rfbproto "ClientFence". */
export const fenceFlag = { syncNext: 4, request: 0x8000_0000 } as const

/** Longest payload of a fence, bytes. */
export const maxFenceBytes = 64

/** Asks for an area whole, changed or not. */
export function encodeUpdateRequest({ x, y, width, height }: Area): Uint8Array {
  return new Writer(10).u8(clientMessage.updateRequest).u8(0).u16(x).u16(y).u16(width).u16(height).finish()
}

export function encodeSetEncodings(numbers: readonly number[]): Uint8Array {
  const writer = new Writer(4 + 4 * numbers.length).u8(clientMessage.setEncodings).u8(0).u16(numbers.length)
  for (const number of numbers) writer.i32(number)
  return writer.finish()
}

/** A fence of either direction: the same layout and type. */
export function encodeFence(flags: number, payload: Uint8Array): Uint8Array {
  const writer = new Writer(9 + maxFenceBytes)
    .u8(clientMessage.fence)
    .u8(0)
    .u16(0)
    .u32(flags >>> 0)
  return writer.u8(payload.length).bytes(payload).finish()
}

export function encodePointerEvent(x: number, y: number, buttons: number): Uint8Array {
  return new Writer(6).u8(clientMessage.pointerEvent).u8(buttons).u16(x).u16(y).finish()
}

export function encodeUpdateHeader(rectangles: number): Uint8Array {
  return new Writer(4).u8(serverMessage.update).u8(0).u16(rectangles).finish()
}

export function encodeRectangleHeader({ x, y, width, height }: Area, number: number): Uint8Array {
  return new Writer(12).u16(x).u16(y).u16(width).u16(height).i32(number).finish()
}

/** Ends an update whose header says 0xFFFF rectangles. */
export function encodeLastRectangle(): Uint8Array {
  return encodeRectangleHeader({ x: 0, y: 0, width: 0, height: 0 }, encoding.lastRect)
}
