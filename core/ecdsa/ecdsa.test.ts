import { generateKeyPairSync, sign, verify } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { encodeEcdsaSignature, readPublicKey } from './index.ts'

const curves = [
  ['P-256', 32],
  ['P-384', 48],
  ['P-521', 66],
] as const
const keys = new Map(curves.map(([curve]) => [curve, generateKeyPairSync('ec', { namedCurve: curve })]))

test.each(curves)('signatures and keys of %s are what OpenSSL takes', (namedCurve, bytes) => {
  const pair = keys.get(namedCurve)
  if (pair === undefined) throw new Error('no key')
  const publicKey = readPublicKey(pair.publicKey.export({ format: 'der', type: 'spki' }))
  expect(publicKey.equals(pair.publicKey)).toBe(true)
  fc.assert(
    fc.property(fc.uint8Array(), (message) => {
      const fixed = sign('sha256', message, { key: pair.privateKey, dsaEncoding: 'ieee-p1363' })
      const der = encodeEcdsaSignature(fixed.subarray(0, bytes), fixed.subarray(bytes))
      expect(verify('sha256', message, publicKey, der)).toBe(true)
      expect(verify('sha256', Buffer.concat([message, Buffer.of(0)]), publicKey, der)).toBe(false)
    }),
    { numRuns: 60 },
  )
})

function hex(r: readonly number[], s: readonly number[]): string {
  return encodeEcdsaSignature(Uint8Array.from(r), Uint8Array.from(s)).toString('hex')
}

test('integers are positive and as short as they can be, and no bytes are zero', () => {
  expect(hex([0, 0, 1], [0x80])).toBe('300702010102020080')
  expect(hex([], [0, 0])).toBe('3006020100020100')
  expect(() => hex(Array<number>(67).fill(1), [1])).toThrow('at most 66 bytes')
})

test('what says nothing of a key is refused', () => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      expect(() => readPublicKey(bytes)).toThrow()
    }),
  )
})
