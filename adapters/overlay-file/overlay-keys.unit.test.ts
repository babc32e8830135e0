import { expect, test } from 'vitest'
import { takeSecret } from './overlay-keys.ts'

test('a secret is taken from where it was', () => {
  const bytes = new Uint8Array(32).fill(7)
  const key = takeSecret(bytes)
  expect(bytes).toEqual(new Uint8Array(32))
  expect(key.export()).toEqual(Buffer.alloc(32, 7))
})
