import { expect, test } from 'vitest'
import { commandOf, linesOf } from './command-lines.ts'

test('an argument has a line, whatever else is in it', () => {
  expect(commandOf('xterm\n-fa\nDejaVu Sans Mono\n-e\necho a, b', [])).toEqual([
    'xterm',
    '-fa',
    'DejaVu Sans Mono',
    '-e',
    'echo a, b',
  ])
  expect(commandOf('mousepad\r\n\r\n  \r\n--help\r\n', [])).toEqual(['mousepad', '--help'])
})

test('a command that nobody touched stays as it was', () => {
  for (const command of [['sh', '-c', 'one\ntwo'], ['a', ' ', 'b c'], ['xterm']])
    expect(commandOf(linesOf(command), command)).toEqual(command)
})
