import { expect, test } from 'vitest'
import { concatBytes } from '#core/bytes/index.ts'
import { strokesOf, toFont } from './font.ts'
import { decodePixelFormat } from './pixel-format.ts'
import { decodeRectangleHeader } from './rectangle.ts'
import {
  allRights,
  bgrx,
  flat,
  readyFilter,
  rectangle,
  setEncodings,
  update,
  updateRequest,
} from './rfb.fixture.ts'
import { layWatermark } from './watermark.ts'

const marked = { ...allRights, watermark: ['alice@example.org', '2026-11-23 13:40'] }
const format = decodePixelFormat(bgrx)
const lastRectangle = rectangle(0, 0, 0, 0, -224)
const picture = rectangle(0, 0, 200, 100, 1, [0, 0, 0, 0])

/** Splits rectangles of Tight fills (16 bytes each) into places and colours. */
function fills(bytes: Uint8Array): { x: number; y: number; width: number; height: number; colour: number }[] {
  return Array.from({ length: bytes.length / 16 }, (_, index) => {
    const one = bytes.subarray(16 * index, 16 * index + 16)
    const { x, y, width, height, encoding } = decodeRectangleHeader(one)
    expect([encoding, one[12]]).toEqual([7, 0x80])
    return { x, y, width, height, colour: one[13] ?? 0 }
  })
}

/** The drawn picture as text: `#` light, `-` dark. */
function paint(width: number, height: number, bytes: Uint8Array): string[] {
  const dots = Array.from({ length: height }, () => Array.from({ length: width }, () => ' '))
  for (const { x, y, width, height, colour } of fills(bytes)) {
    for (let row = y; row < y + height; row++) {
      for (let column = x; column < x + width; column++) dots[row]![column] = colour > 128 ? '#' : '-'
    }
  }
  return dots.map((row) => row.join('').trimEnd())
}

test('every printable character has strokes of its own, space none', () => {
  const characters = Array.from({ length: 94 }, (_, index) => String.fromCharCode(33 + index))
  const shapes = new Set(characters.map((character) => JSON.stringify(strokesOf(character))))
  expect(shapes.size).toBe(94)
  expect(strokesOf(' ')).toEqual([])
})

test('accents fall off and other scripts become question marks', () => {
  expect(toFont('Zoë Müller 李\n')).toBe('Zoe Muller ??')
})

test('draws readable letters with a dark edge', () => {
  const watermark = layWatermark(['L'], { width: 13, height: 17, format, tight: true })
  const { bytes, rectangles } = watermark.draw()
  expect(rectangles).toBe(bytes.length / 16)
  expect(paint(13, 17, bytes).filter((line) => line !== '')).toEqual(
    [' ##', ...Array.from({ length: 11 }, () => ' ##-'), ' ##########', ' ##########-', '  ----------'].map(
      (line) => line.slice(1),
    ),
  )
})

test('stands several times on a screen, within it and within 30 KiB', () => {
  for (const [width, height] of [
    [1280, 800],
    [3840, 2160],
    [640, 480],
  ] as const) {
    const watermark = layWatermark(marked.watermark, { width, height, format, tight: true })
    const { bytes } = watermark.draw()
    expect(watermark.areas.length).toBeGreaterThanOrEqual(3)
    expect(bytes.length).toBeLessThanOrEqual(30 * 1024)
    for (const fill of fills(bytes)) {
      expect(fill.x + fill.width).toBeLessThanOrEqual(width)
      expect(fill.y + fill.height).toBeLessThanOrEqual(height)
    }
  }
})

test('draws again only what was painted over', () => {
  const watermark = layWatermark(['ab'], { width: 400, height: 400, format, tight: true })
  const all = watermark.draw().rectangles
  expect(watermark.draw().rectangles).toBe(0)
  const first = watermark.areas[0]!
  watermark.touch({ x: first.x, y: first.y, width: 1, height: 1 })
  const some = watermark.draw().rectangles
  expect(some).toBeGreaterThan(0)
  expect(some).toBeLessThan(all)
  watermark.touch({ x: 0, y: 0, width: 400, height: 400 })
  expect(watermark.draw().rectangles).toBe(all)
})

test('ends each picture with the watermark, inside the same update', () => {
  const filter = readyFilter(marked, 640, 480)
  filter.fromClient(setEncodings(7, -224))
  const full = rectangle(0, 0, 640, 480, 7, [0x80, 1, 2, 3])
  for (const given of [update(1, full), update(0xffff, full, lastRectangle)]) {
    const out = flat(filter.fromServer(given).toClient)
    const head = update(0xffff, full)
    expect(out.subarray(0, head.length)).toEqual(head)
    expect(out.subarray(-12)).toEqual(lastRectangle)
    expect(fills(out.subarray(head.length, -12)).length).toBeGreaterThan(100)
  }
  const cursor = rectangle(0, 0, 0, 0, -239)
  expect(flat(filter.fromServer(update(1, cursor)).toClient)).toEqual(update(0xffff, cursor, lastRectangle))
})

test('a viewer without LastRect gets the watermark as an update right behind', () => {
  const filter = readyFilter(marked)
  filter.fromClient(setEncodings(7))
  const full = update(1, rectangle(0, 0, 200, 100, 7, [0x80, 1, 2, 3]))
  const out = flat(filter.fromServer(full).toClient)
  const marks = fills(out.subarray(full.length + 4))
  expect(out.subarray(0, full.length + 4)).toEqual(concatBytes(full, update(marks.length)))
})

test('a viewer without Tight gets the watermark as raw rectangles that parse', () => {
  const filter = readyFilter(marked)
  filter.fromClient(setEncodings(0, -224))
  const out = flat(
    filter.fromServer(update(1, rectangle(0, 0, 200, 100, 0, new Uint8Array(80_000)))).toClient,
  )
  const viewer = readyFilter()
  expect(flat(viewer.fromServer(concatBytes(out, Uint8Array.of(2))).toClient)).toEqual(
    concatBytes(out, Uint8Array.of(2)),
  )
})

test('CopyRect is not offered to the server while there is a watermark to smear', () => {
  const filter = readyFilter(marked)
  expect(flat(filter.fromClient(setEncodings(1, 7)).toServer)).toEqual(setEncodings(7))
  expect(flat(filter.setRights(allRights).toServer)).toEqual(setEncodings(1, 7))
  expect(flat(filter.setRights(marked).toServer)).toEqual(setEncodings(7))
})

test('a CopyRect that was under way is asked for again', () => {
  const filter = readyFilter(marked)
  filter.fromClient(updateRequest())
  expect(flat(filter.fromServer(update(1, picture)).toServer)).toEqual(updateRequest(false))
})

test('new lines are drawn where they and the old ones stand, and nothing happens for the same lines', () => {
  const filter = readyFilter(marked)
  filter.fromClient(concatBytes(setEncodings(7, -224), updateRequest()))
  filter.fromServer(update(1, rectangle(0, 0, 200, 100, 7, [0x80, 1, 2, 3])))
  expect(filter.setRights({ ...marked, watermark: [...marked.watermark] }).toServer).toEqual([])
  const requests = flat(filter.setRights({ ...marked, watermark: ['alice@example.org', '13:41'] }).toServer)
  expect(requests.length).toBeGreaterThan(0)
  expect(requests.length % 10).toBe(0)
  expect([requests[0], requests[1]]).toEqual([3, 0])
  const out = flat(filter.fromServer(update(1, rectangle(0, 0, 1, 1, 7, [0x80, 1, 2, 3]))).toClient)
  expect(out.length).toBeGreaterThan(1000)
})

test('follows the size of the screen, also in the middle of an update', () => {
  const filter = readyFilter(marked, 640, 480)
  filter.fromClient(setEncodings(7, -224, -308))
  const refused = rectangle(1, 1, 64, 48, -308, [0, 0, 0, 0])
  expect(flat(filter.fromServer(update(1, refused)).toClient).length).toBeGreaterThan(1000)
  const out = flat(filter.fromServer(update(1, rectangle(0, 0, 300, 200, -308, [0, 0, 0, 0]))).toClient)
  for (const fill of fills(out.subarray(20, -12))) expect(fill.x + fill.width).toBeLessThanOrEqual(300)
})
