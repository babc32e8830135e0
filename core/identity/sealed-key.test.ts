import { randomBytes } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { isSealed, openKey, SealedKeyError, sealKey } from './sealed-key.ts'

const here = { secret: randomBytes(32), machineId: 'a1' }

test('a key opens on its own machine for its own purpose', () => {
  const sealed = sealKey('secret', here, 'identity', randomBytes(28))
  expect(isSealed(sealed)).toBe(true)
  expect(openKey(sealed, here, 'identity')).toBe('secret')
})

test('another host secret, machine or purpose does not open it', () => {
  const sealed = sealKey('secret', here, 'identity', randomBytes(28))
  const elsewhere = expect.objectContaining({ code: 'SEALED_KEY_ELSEWHERE' })
  expect(() => openKey(sealed, { ...here, secret: randomBytes(32) }, 'identity')).toThrow(elsewhere)
  expect(() => openKey(sealed, { ...here, machineId: 'b2' }, 'identity')).toThrow(elsewhere)
  expect(() => openKey(sealed, here, 'other')).toThrow(elsewhere)
})

test('what is sealed shows nothing of the key', () => {
  const sealed = sealKey('-----BEGIN PRIVATE KEY-----', here, 'identity', randomBytes(28))
  expect(Buffer.from(sealed.slice(5), 'base64url').includes('PRIVATE')).toBe(false)
})

test('any other text is refused with a code', () => {
  const sealed = sealKey('secret', here, 'identity', randomBytes(28))
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.integer({ min: 0, max: sealed.length - 1 })), (input) => {
      const text =
        typeof input === 'string'
          ? input
          : `${sealed.slice(0, input)}${sealed[input] === 'A' ? 'B' : 'A'}${sealed.slice(input + 1)}`
      try {
        // The last character carries bits that no byte has.
        expect(openKey(text, here, 'identity')).toBe('secret')
        expect(Buffer.from(text, 'base64url')).toEqual(Buffer.from(sealed, 'base64url'))
      } catch (error) {
        expect(error).toBeInstanceOf(SealedKeyError)
      }
    }),
  )
})
