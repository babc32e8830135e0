import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { fitsRange, parseHead } from './answer-head.ts'
import { parseChallenges } from './challenge.ts'
import { parseContentRange } from './content-range.ts'

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

function fits(head: string, offset: number, length: number): boolean {
  const parsed = parseHead(head)
  return parsed !== undefined && fitsRange(parsed, { offset, length })
}

test.each([
  '',
  '\r\nConnection: Keep-Alive',
  '\r\nServer: x\r\nVary: a\r\nVary: b',
  '\r\nETag:"x"',
  '\r\nConnection: \tkeep-alive\t ',
])('an answer fits when its head promises just the range that was asked for: %j', (more) => {
  expect(fits(fitting + more, 5, 10)).toBe(true)
  expect(fits(fitting + more, 5, 11)).toBe(false)
  expect(fits(fitting + more, 4, 10)).toBe(false)
  expect(fits(fitting.replace('206', '200') + more, 5, 10)).toBe(false)
  expect(fits(fitting.replace('th: 10', 'th: 9') + more, 5, 10)).toBe(false)
})

test('a plain head is read with its fields, several of a name as one', () => {
  const head =
    'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="a"\r\ncontent-length:0\r\nWww-Authenticate: Bearer \r\n__proto__: x'
  expect(parseHead(head)).toEqual({
    status: 401,
    headers: JSON.parse(
      '{"www-authenticate":"Basic realm=\\"a\\", Bearer","content-length":"0","__proto__":"x"}',
    ),
    length: 0,
  })
})

test.each([
  '',
  fitting.replace('206', '100'),
  fitting.replace('206', '204'),
  fitting.replace('206', '304'),
  fitting.replace('206', '666'),
  fitting.replace('1.1', '1.0'),
  fitting.replace('206 ', '2066 '),
  fitting.replace('th: 10', 'th: 010'),
  fitting.replace('th: 10', 'th: -1'),
  fitting.replace('th: 10', 'th: 10, 10'),
  fitting.replace('th: 10', 'th: 9999999999999999'),
  fitting.replace('Content-Length: 10\r\n', ''),
  `${fitting}\r\nContent-Length: 10`,
  `${fitting}\r\nContent-Range: bytes 5-14/20`,
  `${fitting}\r\nLocation: /a\r\nLocation: /b`,
  `${fitting}\r\nTransfer-Encoding: chunked`,
  `${fitting}\r\nContent-Encoding: gzip`,
  `${fitting}\r\nConnection: close`,
  `${fitting}\r\n folded`,
  `${fitting}\r\nX : y`,
  `${fitting}\r\nX: y\nContent-Length: 9`,
  `${fitting}\r\nConnection: \u00a0keep-alive`,
])('any other head is left to the careful client: %j', (head) => {
  expect(parseHead(head)).toBeUndefined()
})

test('a head takes time in proportion to its length, whatever is in it', () => {
  const blanks = '\t'.repeat(16_000)
  for (const line of [`x:${blanks}\0`, `x:${blanks}y${blanks}\0`, `${'x'.repeat(16_000)} `]) {
    expect(parseHead(`${fitting}\r\n${line}`)).toBeUndefined()
  }
  expect(parseHead(`${fitting}${'\r\na: b'.repeat(3000)}`)?.headers['a']).toHaveLength(3 * 3000 - 2)
})
