import { beforeEach, expect, test, vi } from 'vitest'
import { decodePixelFormat } from './pixel-format.ts'
import { allRights, bgr233, bgrx } from './rfb.fixture.ts'
import { Session } from './session.ts'
import { layWatermark } from './watermark.ts'

vi.mock('./watermark.ts', { spy: true })

const tight = 7
const raw = 0

let session: Session
beforeEach(() => {
  vi.mocked(layWatermark).mockClear()
  session = new Session({ ...allRights, watermark: ['Alice Example'] })
  session.format = decodePixelFormat(bgrx)
  session.resize(640, 480)
})

test('however often a viewer changes its encodings and format, the watermark is laid out for the next picture only', () => {
  for (let count = 0; count < 1000; count++) {
    session.setEncodings([count % 2 === 0 ? tight : raw])
    session.format = decodePixelFormat(count % 3 === 0 ? bgr233 : bgrx)
    session.updateWatermark()
  }
  expect(session.watermark).toBeDefined()
  expect(layWatermark).toHaveBeenCalledTimes(1)
})

test('a viewer that changes to and fro between pictures has each watermark laid out once, and drawn whole each time', () => {
  const drawn = Array.from({ length: 10 }, (_, count) => {
    session.setEncodings([count % 2 === 0 ? tight : raw])
    return session.watermark?.draw().rectangles
  })
  expect(layWatermark).toHaveBeenCalledTimes(2)
  expect(drawn[0]).toBeGreaterThan(0)
  expect(new Set(drawn.filter((_, count) => count % 2 === 0))).toEqual(new Set([drawn[0]]))
  expect(new Set(drawn.filter((_, count) => count % 2 === 1))).toEqual(new Set([drawn[1]]))
})

test('a watermark that was off meanwhile is drawn whole again', () => {
  const whole = session.watermark?.draw().rectangles
  for (const watermark of [undefined, ['Alice Example']]) {
    session.rights = { ...allRights, watermark }
    session.updateWatermark()
    expect(session.watermark?.draw().rectangles).toBe(watermark && whole)
  }
})
