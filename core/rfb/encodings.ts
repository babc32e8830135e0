/** Encodings and pseudo-encodings by their number on the wire. Source: rfbproto, "Encodings" and "Pseudo-encodings". */
export const encoding = {
  raw: 0,
  copyRect: 1,
  rre: 2,
  hextile: 5,
  zlib: 6,
  tight: 7,
  zrle: 16,
  tightPng: -260,
  desktopSize: -223,
  lastRect: -224,
  cursor: -239,
  xCursor: -240,
  qemuKey: -258,
  qemuLed: -261,
  desktopName: -307,
  extendedDesktopSize: -308,
  fence: -312,
  continuousUpdates: -313,
  cursorWithAlpha: -314,
  extendedMouseButtons: -316,
  vmwareCursor: 0x574d5664,
  vmwareCursorPosition: 0x574d5666,
  vmwareLed: 0x574d5668,
  extendedClipboard: 0xc0a1e5ce | 0,
} as const

/**
 * True for what the filter can parse. Everything else is struck from the viewer's list, so that the server never sends it.
 * Left out on purpose: JPEG (21) and H.264 (50), which Xvnc and QEMU do not send; xvp (-309), which switches machines off;
 * audio and anything unknown.
 */
export function isParsable(number: number): boolean {
  return known.has(number) || hints.some(([low, high]) => number >= low && number <= high)
}

const known: ReadonlySet<number> = new Set(Object.values(encoding))

/** Quality, compression, JPEG fine quality and subsampling: wishes only, nothing is ever sent in them. */
const hints = [
  [-32, -23],
  [-256, -247],
  [-512, -412],
  [-768, -763],
] as const
