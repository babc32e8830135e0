import { expect, test } from 'vitest'
import { initialQuality, type LinkQuality, nextQuality, type QualityState } from './quality.ts'

function after(rtts: readonly number[], from: QualityState = initialQuality): LinkQuality {
  return rtts.reduce(nextQuality, from).quality
}

test('three bad measurements in a row lower the quality by one level', () => {
  expect(after([100, 100])).toBe('good')
  expect(after([100, 100, 100])).toBe('wan')
  expect(after([500, 500, 500])).toBe('wan')
  expect(after([500, 500, 500, 500, 500, 500])).toBe('poor')
})

test('one spike changes nothing', () => {
  expect(after([10, 900, 10, 900, 900, 10, 900])).toBe('good')
})

test('a level is regained only well below its bound', () => {
  const wan: QualityState = { quality: 'wan', against: 0 }
  expect(after([55, 55, 55, 55, 55], wan)).toBe('wan')
  expect(after([30, 30, 30], wan)).toBe('good')
  const poor: QualityState = { quality: 'poor', against: 0 }
  expect(after([190, 190, 190, 190], poor)).toBe('poor')
  expect(after([120, 120, 120], poor)).toBe('wan')
})

test('a round trip that swings around a bound does not make the picture swing', () => {
  const swings = Array.from({ length: 40 }, (_, index) => (index % 2 === 0 ? 55 : 65))
  expect(after(swings)).toBe('good')
})
