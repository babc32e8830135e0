import { expect, test } from 'vitest'
import { toFont } from '#core/rfb/font.ts'
import { fullNameOf } from './full-name.ts'
import { desiredSession } from './messages.ts'

test('a watermark names somebody whose name it cannot draw', () => {
  expect(toFont(fullNameOf({ name: '李雷', login: 'lilei' }))).toBe('?? (lilei)')
})

test('the longest name and login fit what a host takes, cut between characters', () => {
  const fullName = fullNameOf({ name: `x${'\u{1F680}'.repeat(49)}`, login: 'a'.repeat(32) })
  expect(fullName.isWellFormed()).toBe(true)
  expect(desiredSession.shape.fullName.parse(fullName)).toContain(`(${'a'.repeat(32)})`)
})
