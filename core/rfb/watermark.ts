import { concatBytes } from '#core/bytes/index.ts'
import { encoding } from './encodings.ts'
import { glyphHeight, glyphWidth, strokesOf, toFont } from './font.ts'
import { type Area, encodeRectangleHeader } from './messages.ts'
import { type Colour, encodePixel, encodeTightPixel, type PixelFormat } from './pixel-format.ts'

/** Where and how a watermark is drawn. */
export interface WatermarkCanvas {
  readonly width: number
  readonly height: number
  readonly format: PixelFormat
  /** The viewer knows Tight, in which one rectangle of one colour takes 16 bytes. */
  readonly tight: boolean
}

/** A watermark laid out on a screen; keeps which parts were painted over since they were last drawn. */
export interface Watermark {
  /** Where the text stands: one area for each repetition. */
  readonly areas: readonly Area[]
  /** Notes that the server painted here. */
  touch(area: Area): void
  /** The rectangles that restore what was painted over; at first, all of them. */
  draw(): { readonly rectangles: number; readonly bytes: Uint8Array }
}

/**
 * Lays the lines out several times, one below the other and staggered: as often as 30 KiB of rectangles allow, but three
 * times at least where there is room. Light strokes with a dark edge to the lower right are seen on any background.
 * Lines wrap at the screen's width; characters that find no room below are left out.
 */
export function layWatermark(lines: readonly string[], canvas: WatermarkCanvas): Watermark {
  const scale = canvas.width >= 2560 ? 3 : 2
  const text = wrap(lines, Math.floor(canvas.width / (scale * advance)))
  const block = {
    width: scale * advance * Math.max(0, ...text.map((line) => line.length)),
    height: scale * lineHeight * text.length,
  }
  const sample = drawBlock(text, { x: 0, y: 0, ...block }, scale, canvas)
  const areas = spread(
    block,
    canvas,
    sample.reduce((sum, glyph) => sum + glyph.bytes.length, 0),
  )
  const glyphs = areas.flatMap((area) => drawBlock(text, area, scale, canvas))
  const stale = new Set(glyphs)
  return {
    areas,
    touch(area) {
      if (stale.size === glyphs.length) return
      for (const glyph of glyphs) if (overlaps(glyph.area, area)) stale.add(glyph)
    },
    draw() {
      const drawn = [...stale]
      stale.clear()
      return {
        rectangles: drawn.reduce((sum, glyph) => sum + glyph.rectangles, 0),
        bytes: concatBytes(...drawn.map((glyph) => glyph.bytes)),
      }
    },
  }
}

const light: Colour = [0xc8, 0xc8, 0xc8]
const dark: Colour = [0x38, 0x38, 0x38]
const budgetBytes = 30 * 1024
const maxLines = 6
const maxCharacters = 240
/** Dots from one character, and one line, to the next. */
const advance = glyphWidth + 1
const lineHeight = glyphHeight + 3

/** A character is drawn whole or not at all: its light strokes lie over its dark ones. */
interface Glyph {
  readonly area: Area
  readonly rectangles: number
  readonly bytes: Uint8Array
}

function wrap(lines: readonly string[], columns: number): readonly string[] {
  if (columns < 1) return []
  const wrapped = lines.flatMap((line) => {
    const text = toFont(line.slice(0, maxCharacters))
    return Array.from({ length: Math.ceil(text.length / columns) }, (_, row) =>
      text.slice(row * columns, (row + 1) * columns),
    )
  })
  return wrapped.slice(0, maxLines)
}

/** One block in each of equally high strips; the golden ratio keeps them from standing in columns. */
function spread(
  block: { readonly width: number; readonly height: number },
  canvas: WatermarkCanvas,
  blockBytes: number,
): readonly Area[] {
  if (block.width === 0) return []
  const affordable = Math.max(3, Math.floor(budgetBytes / Math.max(1, blockBytes)))
  const strips = Math.max(1, Math.min(8, affordable, Math.floor(canvas.height / (2 * block.height))))
  return Array.from({ length: strips }, (_, strip) => ({
    x: Math.floor((canvas.width - block.width) * ((0.2 + strip * 0.618) % 1)),
    y: Math.max(0, Math.floor(((strip + 0.5) * canvas.height) / strips - block.height / 2)),
    ...block,
  }))
}

function drawBlock(text: readonly string[], block: Area, scale: number, canvas: WatermarkCanvas): Glyph[] {
  return text.flatMap((line, row) =>
    line.split('').flatMap((character, column) => {
      const x = block.x + column * advance * scale
      const y = block.y + row * lineHeight * scale
      const area = { x, y, width: glyphWidth * scale + 1, height: glyphHeight * scale + 1 }
      const strokes = strokesOf(character)
      const fits = x + area.width <= canvas.width && y + area.height <= canvas.height
      if (strokes.length === 0 || !fits) return []
      const paint = (colour: Colour, shift: number): Uint8Array[] =>
        strokes.map((stroke) =>
          fill(
            {
              x: x + stroke.x * scale + shift,
              y: y + stroke.y * scale + shift,
              width: stroke.width * scale,
              height: stroke.height * scale,
            },
            colour,
            canvas,
          ),
        )
      const bytes = concatBytes(...paint(dark, 1), ...paint(light, 0))
      return [{ area, rectangles: 2 * strokes.length, bytes }]
    }),
  )
}

/** A rectangle of one colour: Tight's fill compression, or Raw. */
function fill(area: Area, colour: Colour, { format, tight }: WatermarkCanvas): Uint8Array {
  if (tight) {
    const header = encodeRectangleHeader(area, encoding.tight)
    return concatBytes(header, Uint8Array.of(0x80), encodeTightPixel(format, colour))
  }
  const pixel = encodePixel(format, colour)
  const pixels = new Uint8Array(area.width * area.height * pixel.length)
  for (let at = 0; at < pixels.length; at += pixel.length) pixels.set(pixel, at)
  return concatBytes(encodeRectangleHeader(area, encoding.raw), pixels)
}

function overlaps(a: Area, b: Area): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height
}
