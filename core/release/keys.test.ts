import { generateKeyPairSync } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { checkKey, decodePublicKey, encodePublicKey, isSignedBy, keyIdOf, tufKeyOf } from './keys.ts'
import { codeOf, makeSigner } from './release.fixture.ts'

test.each(['ed25519', 'p256'] as const)(
  'a key signs, and its public file says whose it is (%s)',
  async (kind) => {
    const signer = makeSigner('alice', kind)
    const key = decodePublicKey(encodePublicKey(signer.publicKey))
    expect(key).toEqual(signer.publicKey)
    expect(keyIdOf(key)).toBe(signer.keyId)
    const message = Buffer.from('what is signed')
    const signature = await signer.sign(message)
    expect(isSignedBy(key, message, signature)).toBe(true)
    expect(isSignedBy(key, Buffer.from('what is not'), signature)).toBe(false)
    expect(isSignedBy(makeSigner('bob', kind).publicKey, message, signature)).toBe(false)
  },
)

test('a key keeps its id under another name', () => {
  const { publicKey } = makeSigner('alice')
  expect(keyIdOf({ ...publicKey, 'x-trustcast-name': 'bob' })).toBe(keyIdOf(publicKey))
})

test.each(['', ' ', 'bob ', 'bob  0123', '\u202ebob', 'b\u200bob', 'bob\n', 'b\u00a0b', 'x'.repeat(101)])(
  'no key is called %j',
  async (name) => {
    const { publicKey } = makeSigner('Zoë Łęcka (2nd key)')
    expect(checkKey(publicKey)).toEqual(publicKey)
    expect(await codeOf(() => checkKey({ ...publicKey, 'x-trustcast-name': name }))).toBe('RELEASE_BAD_KEY')
    expect(await codeOf(() => makeSigner(name))).toBe('RELEASE_BAD_KEY')
  },
)

test('other curves, other spellings and other kinds are refused', async () => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' })
  expect(await codeOf(() => tufKeyOf(publicKey))).toBe('RELEASE_BAD_KEY')
  const key = makeSigner('bob', 'p256').publicKey
  const pem = key.keyval.public
  const spellings = [
    pem.trim(),
    pem.replaceAll('\n', '\r\n'),
    `${pem}\n`,
    publicKey.export({ format: 'pem', type: 'spki' }),
  ]
  for (const spelling of spellings) {
    expect(await codeOf(() => checkKey({ ...key, keyval: { public: spelling } }))).toBe('RELEASE_BAD_KEY')
  }
  expect(await codeOf(() => checkKey({ ...key, keytype: 'ed25519' }))).toBe('RELEASE_BAD_KEY')
  expect(await codeOf(() => checkKey({ ...key, more: 1 }))).toBe('RELEASE_BAD_KEY')
})

test('any bytes are a key or a coded refusal', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
      expect(['RELEASE_MALFORMED', 'RELEASE_BAD_KEY']).toContain(await codeOf(() => decodePublicKey(bytes)))
    }),
  )
})
