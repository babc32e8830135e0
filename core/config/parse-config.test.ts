import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { ConfigError, parseConfig } from './parse-config.ts'

const schema = z.strictObject({
  name: z.string(),
  listen: z.strictObject({ port: z.int().min(1).max(65535) }),
})

test('a good file gives what it says', () => {
  expect(parseConfig('name: a\nlisten:\n  port: 8443\n', schema, 'site.yaml')).toEqual({
    name: 'a',
    listen: { port: 8443 },
  })
})

test.each([
  ['name: a\nlisten:\n  port: eighty\n', 'site.yaml:3:9: listen.port'],
  ['name: a\nlisten:\n  port: 1\n  prot: 2\n', 'site.yaml:4:9: listen'],
  ['name: a\n', 'site.yaml:1:1: listen'],
  ['name: a\nlistne:\n  port: 1\n', 'site.yaml:3:3: Unrecognized key: "listne"'],
  ['name: a\nlisten: {port: 1\n', 'site.yaml:3'],
  ['name: a\nname: b\n', 'site.yaml:2'],
])('the error of %j names its line', (text, message) => {
  expect(() => parseConfig(text, schema, 'site.yaml')).toThrow(message)
})

test('aliases that multiply are refused', () => {
  const bomb = [
    'a: &a [x, x, x, x, x, x, x, x, x]',
    ...'bcdefgh'.split('').map((c, i) => `${c}: &${c} [${Array(9).fill(`*${'abcdefg'[i]}`).join(', ')}]`),
  ].join('\n')
  expect(() => parseConfig(bomb, z.unknown(), 'x.yaml')).toThrow(ConfigError)
})

test('any text is either valid or refused with a code', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 300 }), (text) => {
      try {
        parseConfig(text, schema, 'x')
      } catch (error) {
        expect(error).toBeInstanceOf(ConfigError)
      }
    }),
  )
})
