import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseChallenges } from './challenge.ts'
import { parseContentRange } from './content-range.ts'
import { fitsRange } from './range-head.ts'

test.each([
  ['bytes 0-99/1000', { first: 0, last: 99, size: 1000 }],
  ['bytes 5-5/*', { first: 5, last: 5, size: undefined }],
  ['Bytes 5-6/7', { first: 5, last: 6, size: 7 }],
])('a content range is read: %s', (text, range) => {
  expect(parseContentRange(text)).toEqual(range)
})

test.each([
  '',
  'bytes */1000',
  'bytes 9-5/10',
  'bytes 0-10/10',
  'bytes=0-1/2',
  'bytes 0-1/2, 3-4/5',
  'items 0-1/2',
])('is no content range: %j', (text) => {
  expect(parseContentRange(text)).toBeUndefined()
})

test('challenges are read with their parameters, several in one header', () => {
  const [bearer, basic] = parseChallenges(
    'Bearer realm="https://auth.example/token?a=b,c",service="reg\\"istry" , scope=x, Basic realm="images"',
  )
  expect(bearer?.scheme).toBe('bearer')
  expect(Object.fromEntries(bearer?.parameters ?? [])).toEqual({
    realm: 'https://auth.example/token?a=b,c',
    service: 'reg"istry',
    scope: 'x',
  })
  expect(basic?.scheme).toBe('basic')
  expect(basic?.parameters.get('realm')).toBe('images')
})

test('any text is read as challenges, or passed over', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      for (const { scheme } of parseChallenges(`Bearer realm="${text}`)) expect(scheme).not.toBe('')
    }),
  )
  expect(parseChallenges(`Bearer ${'a="'.repeat(100_000)}`).length).toBeLessThan(10_000)
})

const fitting = 'HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\nContent-Range: bytes 5-14/20'

test.each([
  '',
  '\r\nConnection: Keep-Alive',
  '\r\nServer: x\r\nVary: a\r\nVary: b',
  '\r\nETag:"x"',
  '\r\nConnection: \tkeep-alive\t ',
])('an answer fits when its head promises just the range that was asked for: %j', (more) => {
  expect(fitsRange(fitting + more, 5, 10)).toBe(true)
  expect(fitsRange(fitting + more, 5, 11)).toBe(false)
  expect(fitsRange(fitting + more, 4, 10)).toBe(false)
})

test.each([
  '',
  fitting.replace('206', '200'),
  fitting.replace('1.1', '1.0'),
  fitting.replace('206 ', '2066 '),
  fitting.replace('th: 10', 'th: 010'),
  fitting.replace('th: 10', 'th: 9'),
  `${fitting}\r\nContent-Length: 10`,
  `${fitting}\r\nContent-Range: bytes 5-14/20`,
  `${fitting}\r\nTransfer-Encoding: chunked`,
  `${fitting}\r\nContent-Encoding: gzip`,
  `${fitting}\r\nConnection: close`,
  `${fitting}\r\n folded`,
  `${fitting}\r\nX : y`,
  `${fitting}\r\nX: y\nContent-Length: 9`,
  `${fitting}\r\nConnection: \u00a0keep-alive`,
])('any other head is left to the careful client: %j', (head) => {
  expect(fitsRange(head, 5, 10)).toBe(false)
})

test('a head takes time in proportion to its length, whatever is in it', () => {
  const blanks = '\t'.repeat(16_000)
  for (const line of [`x:${blanks}\0`, `x:${blanks}y${blanks}\0`, `${'x'.repeat(16_000)} `]) {
    expect(fitsRange(`${fitting}\r\n${line}`, 5, 10)).toBe(false)
  }
})
