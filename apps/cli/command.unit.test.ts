import { expect, test } from 'vitest'
import { parse } from './command.ts'

test('a folder below /proc is refused, since nothing can be made there', () => {
  const options = { state: { type: 'string' }, store: { type: 'string', multiple: true } } as const
  for (const words of [
    ['--state', '/proc/1/x'],
    ['--state', '/tmp/../proc/x'],
    ['--store', '/srv/images', '--store', '/proc/x'],
  ])
    expect(() => parse(words, options, [0, 0])).toThrow('below /proc')
  expect(
    parse(['--state', '/process', '--store', 'https://store.example/proc'], options, [0, 0]).text('state'),
  ).toBe('/process')
})
