import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { isCoded } from '#core/errors/coded-error.ts'
import type { BlobDigest } from './blob-store.ts'
import { digestHex, digestOf, formatReference, parseDigest, parseReference } from './reference.ts'

test.each(['debian-desktop:2', 'a:b', '0._-:9', `${'n'.repeat(128)}:${'v'.repeat(128)}`])(
  '%s names an image',
  (text) => {
    expect(formatReference(parseReference(text))).toBe(text)
  },
)

test.each([
  '',
  ':',
  'debian',
  'debian:',
  ':2',
  'debian:2:3',
  'lib/debian:2',
  'Debian:2',
  '.debian:2',
  'debian:-2',
  '../debian:2',
  'debian:2\n',
  `${'n'.repeat(129)}:2`,
  'debian:2@sha256',
])('%j names none', (text) => {
  expect(() => parseReference(text)).toThrow(
    expect.objectContaining({ code: 'BLOB_BAD_REFERENCE', remedy: expect.any(String) }),
  )
})

test('a reference that was put together from other text is refused', () => {
  expect(() => formatReference({ name: 'a:b', version: '1' })).toThrow()
})

test('a digest is that of the bytes', () => {
  const digest = digestOf(Buffer.from('abc'))
  expect(digest).toBe('sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
  expect(parseDigest(digest)).toBe(digest)
  expect(digestHex(digest)).toHaveLength(64)
})

test.each([
  '',
  'sha256:',
  `sha256:${'g'.repeat(64)}`,
  `sha512:${'0'.repeat(128)}`,
  `sha256:${'0'.repeat(63)}/`,
])('%j is no digest', (text) => {
  expect(() => parseDigest(text)).toThrow(expect.objectContaining({ code: 'BLOB_BAD_REFERENCE' }))
  expect(() => digestHex(text as BlobDigest)).toThrow()
})

test('any text is a reference or refused with a code', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[a-z0-9:._-]{0,12}$/)), (text) => {
      try {
        expect(formatReference(parseReference(text))).toBe(text)
      } catch (error) {
        expect(isCoded(error)).toBe(true)
      }
    }),
  )
})

test('what was said is what the refusal shows', () => {
  for (const text of ['office', 'Office:1', 'a:b:c', ''])
    expect(() => parseReference(text)).toThrow(`got ${JSON.stringify(text)}`)
})
