/** Glyphs are 5 × 7 dots, with one dot between them. */
export const glyphWidth = 5
export const glyphHeight = 7

/** A rectangle of dots within a glyph. */
export interface Stroke {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

/**
 * Few rectangles that together draw a printable ASCII character, and `?` for any other.
 * They may overlap: horizontal and vertical bars cross.
 */
export function strokesOf(character: string): readonly Stroke[] {
  const code = character.codePointAt(0) ?? 0
  return glyphs[code - 32] ?? questionMark
}

/** Accents fall off; what is not ASCII then, becomes `?`. */
export function toFont(text: string): string {
  return text
    .normalize('NFD')
    .replaceAll(/\p{M}/gu, '')
    .replaceAll(/[^ -~]/gu, '?')
}

/** From space to tilde: seven rows each, top first, a row as one base-32 digit whose highest bit is the left dot. */
const rows = [
  '0000000 4444404 aaa0000 aavavaa 4fke5u4 op248j3 cik8lid 4480000 2488842 8422248 04lel40 044v440',
  '0000c48 000v000 00000cc 01248g0 ehjlphe 4c4444e eh1248v v2421he 26aiv22 vgu11he 68guhhe v124888',
  'ehhehhe ehhf12c 0cc0cc0 0cc0c48 248g842 00v0v00 8421248 eh12404 ehnlnge ehhvhhh uhhuhhu ehggghe',
  'sihhhis vgguggv vgguggg ehgnhhf hhhvhhh e44444e 72222ic hikokih ggggggv hrllhhh hhpljhh ehhhhhe',
  'uhhuggg ehhhlid uhhukih fgge11u v444444 hhhhhhe hhhhha4 hhhllla hha4ahh hhha444 v1248gv e88888e',
  '0g84210 e22222e 4ah0000 000000v 8420000 00e1fhf ggmphhu 00egghe 11djhhf 00ehvge 698s888 0fhhf1e',
  'ggmphhh 40c444e 20622ic ggikoki c44444e 00qllhh 00mphhh 00ehhhe 00uhugg 00djf11 00mpggg 00ege1u',
  '88s8896 00hhhjd 00hhha4 00hhlla 00ha4ah 00hhf1e 00v248v 2448442 4444444 8442448 008l200',
]

const glyphs: readonly (readonly Stroke[])[] = rows.join(' ').split(' ').map(toStrokes)
const questionMark: readonly Stroke[] = glyphs['?'.charCodeAt(0) - 32] ?? []

/** Each dot not yet drawn is drawn by the longer of the two bars through it, so that strokes stay few. */
function toStrokes(digits: string): readonly Stroke[] {
  const dots = Array.from(digits, (digit) => Number.parseInt(digit, 32))
  const isSet = (x: number, y: number): boolean => (((dots[y] ?? 0) >> (glyphWidth - 1 - x)) & 1) === 1
  const drawn = new Set<number>()
  const strokes: Stroke[] = []
  for (let y = 0; y < glyphHeight; y++) {
    for (let x = 0; x < glyphWidth; x++) {
      if (!isSet(x, y) || drawn.has(y * glyphWidth + x)) continue
      const stroke = longerBar(x, y, isSet)
      for (let dot = 0; dot < stroke.width * stroke.height; dot++) {
        drawn.add((stroke.y + Math.floor(dot / stroke.width)) * glyphWidth + stroke.x + (dot % stroke.width))
      }
      strokes.push(stroke)
    }
  }
  return strokes
}

function longerBar(x: number, y: number, isSet: (x: number, y: number) => boolean): Stroke {
  let [left, right, top, bottom] = [x, x + 1, y, y + 1]
  while (left > 0 && isSet(left - 1, y)) left--
  while (right < glyphWidth && isSet(right, y)) right++
  while (top > 0 && isSet(x, top - 1)) top--
  while (bottom < glyphHeight && isSet(x, bottom)) bottom++
  return right - left >= bottom - top
    ? { x: left, y, width: right - left, height: 1 }
    : { x, y: top, width: 1, height: bottom - top }
}
