import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeMonitorMessage, encodeMonitorCommand } from './monitor-message.ts'
import { VmError } from './vm-error.ts'

test.each([
  ['{"QMP": {"version": {}, "capabilities": ["oob"]}}', { kind: 'greeting' }],
  ['{"return": {"status": "running"}, "id": 3}', { kind: 'return', id: 3, value: { status: 'running' } }],
  [
    '{"id": 4, "error": {"class": "CommandNotFound", "desc": "no"}}',
    { kind: 'error', id: 4, class: 'CommandNotFound', text: 'no' },
  ],
  [
    '{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}',
    { kind: 'event', name: 'STOP', data: {} },
  ],
])('%s is understood', (line, message) => {
  expect(decodeMonitorMessage(line)).toEqual(message)
})

test('any text is a message or refused with a code', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      try {
        decodeMonitorMessage(text)
      } catch (error) {
        expect(error).toBeInstanceOf(VmError)
      }
    }),
  )
})

test('a command is one line', () => {
  expect(encodeMonitorCommand(7, 'quit')).toBe('{"execute":"quit","id":7}\n')
  expect(encodeMonitorCommand(8, 'set', { a: 'b\nc' })).toBe(
    '{"execute":"set","arguments":{"a":"b\\nc"},"id":8}\n',
  )
})
