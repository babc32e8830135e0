import { argon2Sync } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { isCoded } from '#core/errors/coded-error.ts'
import { type Argon2Hash, formatPhc, needsRehash, parsePhc } from './phc.ts'

/** Argon2 reference implementation, src/test.c: Argon2id, version 19. */
const vectors = [
  ['password', '$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc'],
  ['password', '$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4'],
  ['password', '$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc'],
  [
    'differentpassword',
    '$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$C4TWUs9rDEvq7w3+J4umqA32aWKB1+DSiRuBfYxFj94',
  ],
  ['password', '$argon2id$v=19$m=65536,t=2,p=1$ZGlmZnNhbHQ$vfMrBczELrFdWP0ZsfhWsRPaHppYdP3MVEMIVlqoFBw'],
] as const

/** The same source's encodings that must fail, and near misses of our own. */
const broken = [
  '$argon2id$v=19$m=65536,t=2,p=1c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA',
  '$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQwWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA',
  '$argon2id$v=19$m=65536,t=2,p=1$$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ',
  vectors[0][1].replace('argon2id', 'argon2i'),
  vectors[0][1].replace('v=19', 'v=16'),
  vectors[0][1].replace('m=65536', 'm=065536'),
  vectors[0][1].replace('m=65536', 'm=999999'),
  vectors[0][1].replace('m=65536', 'm=7'),
  vectors[0][1].replace('t=2', 't=0'),
  vectors[0][1].replace('t=2', 't=99'),
  vectors[0][1].replace('p=1', 'p=9'),
  vectors[0][1].replace('PPc', 'PPd'),
  `${vectors[0][1]}=`,
  `${vectors[0][1]}\n`,
  vectors[0][1].slice(0, -32),
]

test.each(vectors)('%s hashes to %s', (password, text) => {
  const hash = parsePhc(text)
  const { memoryKib: memory, passes, parallelism, salt: nonce } = hash
  const tag = argon2Sync('argon2id', { message: password, nonce, memory, passes, parallelism, tagLength: 32 })
  expect(formatPhc({ ...hash, tag })).toBe(text)
})

test.each(broken)('%s is refused', (text) => {
  expect(() => parsePhc(text)).toThrow(expect.objectContaining({ code: 'IDENTITY_BAD_HASH' }))
})

test('what is formatted is parsed alike', () => {
  const hashes: fc.Arbitrary<Argon2Hash> = fc.record({
    memoryKib: fc.integer({ min: 64, max: 262_144 }),
    passes: fc.integer({ min: 1, max: 16 }),
    parallelism: fc.integer({ min: 1, max: 8 }),
    salt: fc.uint8Array({ minLength: 8, maxLength: 64 }),
    tag: fc.uint8Array({ minLength: 16, maxLength: 64 }),
  })
  fc.assert(
    fc.property(hashes, (hash) => {
      expect(parsePhc(formatPhc(hash))).toEqual(hash)
    }),
  )
})

test('arbitrary text is a hash or refused with a code', () => {
  const texts = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.tuple(fc.nat(90), fc.string({ maxLength: 2 })).map(([at, text]) => {
      const { 1: vector } = vectors[0]
      return vector.slice(0, at) + text + vector.slice(at + 1)
    }),
  )
  fc.assert(
    fc.property(texts, (text) => {
      try {
        expect(formatPhc(parsePhc(text))).toBe(text)
      } catch (error) {
        expect(error).toSatisfy(isCoded)
      }
    }),
    { numRuns: 1000 },
  )
})

test('a hash of other cost or with a short salt is to be made anew', () => {
  const wanted = { memoryKib: 19_456, passes: 2, parallelism: 1 }
  const good = { ...wanted, salt: new Uint8Array(16), tag: new Uint8Array(32) }
  expect(needsRehash(good, wanted)).toBe(false)
  expect(needsRehash({ ...good, passes: 1 }, wanted)).toBe(true)
  expect(needsRehash({ ...good, salt: new Uint8Array(8) }, wanted)).toBe(true)
})
