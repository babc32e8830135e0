import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { directedVersion, type Wave, waveOf } from './waves.ts'

const ids = fc.uniqueArray(fc.uuid(), { minLength: 1, maxLength: 20 })
const names = fc.subarray(['pilots', 'it', 'staff', 'all'])

function gets(endpoint: { id: string; groups: readonly string[] }, wave: Wave): string {
  return directedVersion('debian', { current: '1', next: { version: '2', wave } }, endpoint)
}

test('a growing wave never takes anybody back', () => {
  fc.assert(
    fc.property(ids, names, names, names, fc.nat(100), fc.nat(100), (ids, groups, first, more, a, b) => {
      const [percent = 0, grown = 0] = [a, b].toSorted((x, y) => x - y)
      for (const id of ids) {
        const before = gets({ id, groups }, { groups: first, endpoints: ids.slice(0, 1), percent })
        const after = gets({ id, groups }, { groups: [...first, ...more], endpoints: ids, percent: grown })
        if (before === '2') expect(after).toBe('2')
      }
    }),
  )
})

test('nobody at 0 percent, everybody at 100', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.string(), (id, name, version) => {
      const place = waveOf(id, name, version)
      expect(place).toBe(waveOf(id, name, version))
      expect(place).toBeGreaterThanOrEqual(0)
      expect(place).toBeLessThan(100)
    }),
  )
})

test('a percentage is about that many endpoints', () => {
  const places = Array.from({ length: 10_000 }, (_, index) => waveOf(`endpoint-${index}`, 'debian', '2'))
  expect(places.filter((place) => place < 25).length).toBeGreaterThan(2300)
  expect(places.filter((place) => place < 25).length).toBeLessThan(2700)
})

test('canaries get the next version first, by group or by name; without a next version all get the current one', () => {
  const wave = { groups: ['pilots'], endpoints: ['e9'], percent: 0 }
  expect(gets({ id: 'e1', groups: ['pilots'] }, wave)).toBe('2')
  expect(gets({ id: 'e9', groups: [] }, wave)).toBe('2')
  expect(gets({ id: 'e1', groups: ['staff'] }, wave)).toBe('1')
  expect(directedVersion('debian', { current: '1' }, { id: 'e9', groups: ['pilots'] })).toBe('1')
})
