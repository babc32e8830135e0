import { expect, test } from 'vitest'
import type { Restriction } from '#core/api/words.ts'
import { dataPlaces, deliveryModes, rights } from '#core/trust/words.ts'
import {
  ago,
  modeNames,
  modeSentences,
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
