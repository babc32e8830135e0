import { expect, test } from 'vitest'
import type { Restriction } from '#core/api/words.ts'
import { dataPlaces, deliveryModes, rights } from '#core/trust/words.ts'
import {
  ago,
  modeNames,
  modeSentences,
  percent,
  placeSentences,
  restrictionNames,
  rightsChanges,
  sentence,
  sessionStateName,
  size,
  span,
  unlockSentence,
  unlockSummary,
  worthOf,
} from './words.ts'

const change = (remedy: string) => ({ claim: 'c', from: 'no', to: 'yes', remedy })

test('every mode, place and right has words of its own', () => {
  expect(new Set(deliveryModes.map((mode) => modeNames[mode])).size).toBe(deliveryModes.length)
  expect(new Set(deliveryModes.map((mode) => modeSentences[mode])).size).toBe(deliveryModes.length)
  expect(new Set(dataPlaces.map((place) => placeSentences[place])).size).toBe(dataPlaces.length)
  expect(new Set(rights.map((right) => restrictionNames[right])).size).toBe(rights.length)
})

test('an unlock of several changes reads as one sentence', () => {
  expect(unlockSentence({ changes: [change('Turn on disk encryption.')] })).toBe('Turn on disk encryption')
  expect(
    unlockSentence({ changes: [change('Turn on disk encryption.'), change('Join the office network.')] }),
  ).toBe('Turn on disk encryption and join the office network')
})

test('a withheld right is told with its reason, a regained one without', () => {
  const restriction: Restriction = {
    right: 'clipboard-out',
    reason: 'contractors copy nothing out',
    policies: [],
    unlocks: [],
  }
  const all = { rights: [...rights], restrictions: [] }
  const cut = { rights: ['input', 'clipboard-in'] as const, restrictions: [restriction] }
  expect(rightsChanges(all, cut)).toEqual(['Copying out was turned off: contractors copy nothing out.'])
  expect(rightsChanges(cut, all)).toEqual(['Copying out was turned on.'])
  expect(rightsChanges(cut, cut)).toEqual([])
})

test('times and sizes are coarse', () => {
  const now = Date.parse('2026-01-02T00:00:00Z')
  expect(ago('2026-01-01T23:59:30Z', now)).toBe('just now')
  expect(ago('2026-01-01T23:55:00Z', now)).toBe('5 min ago')
  expect(ago('2026-01-01T00:00:00Z', now)).toBe('24 h ago')
  expect(span(3 * 1440)).toBe('3 days')
  expect(size(65_536)).toBe('64 KiB')
  expect(size(0)).toBe('0 bytes')
})

test('a session that nobody looks at is disconnected, not ended', () => {
  expect(sessionStateName({ state: 'ready', connected: false })).toBe('Disconnected')
  expect(sessionStateName({ state: 'ready', connected: true })).toBe('In use')
})

test('the worth of a source that this page does not know is its name', () => {
  expect(worthOf('attested')).toBe('Proven by hardware')
  expect(worthOf('oracle')).toBe('oracle')
})

test('a clause becomes a sentence, a sentence stays one', () => {
  expect(sentence('you ended it')).toBe('You ended it.')
  expect(sentence('You ended it.')).toBe('You ended it.')
})

test('a tile names the first of many changes and counts the others', () => {
  const unlock = {
    changes: ['Use a managed device.', 'Turn on the firewall.', 'Install updates.'].map(change),
  }
  expect(unlockSummary(unlock)).toBe('Use a managed device and 2 more changes')
  expect(unlockSummary({ changes: unlock.changes.slice(0, 1) })).toBe('Use a managed device')
})

test('large sizes have one digit behind the point, and no unit is left at 1024', () => {
  expect([2 ** 30, 1.44 * 2 ** 30, 40 * 2 ** 30, 150.4 * 2 ** 30].map(size)).toEqual([
    '1 GiB',
    '1.4 GiB',
    '40 GiB',
    '150 GiB',
  ])
  expect(size(2 ** 30 - 1)).toBe('1 GiB')
  expect(size(3 * 2 ** 40)).toBe('3 TiB')
})

test('a share is never called all or nothing when it is not', () => {
  expect([0, 1, 50_000, 94_400, 99_999, 100_000].map((part) => percent(part, 100_000))).toEqual([
    '0 %',
    'less than 0.1 %',
    '50 %',
    '94 %',
    '99.9 %',
    '100 %',
  ])
  expect(percent(0, 0)).toBe('0 %')
})
