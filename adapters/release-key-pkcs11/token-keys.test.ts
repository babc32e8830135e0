import { generateKeyPairSync, sign, verify } from 'node:crypto'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { decodePublicKey, encodePublicKey, isSignedBy, keyIdOf } from '#core/release/index.ts'
import { codeOf, firstRoot, makeCast, signBy } from '#core/release/release.fixture.ts'
import { makeSoftToken, type SoftToken } from './softhsm.rig.ts'
import { derOfSignature, listTokenKeys, openTokenKey } from './token-keys.ts'

let token: SoftToken
let module: string
let pin: string
beforeAll(async () => {
  token = await makeSoftToken('alice')
  ;({ module, pin } = token)
})
afterAll(() => token[Symbol.asyncDispose]())

test('a token signs metadata that its public key verifies', async () => {
  const [key] = await listTokenKeys({ module })
  expect(key).toMatchObject({
    id: '02',
    label: 'alice',
    publicKey: { keytype: 'ecdsa', 'x-trustcast-name': 'alice' },
  })
  const publicKey = decodePublicKey(encodePublicKey(key!.publicKey))
  const signer = await openTokenKey({ module, token: 'alice', pin })
  expect(signer.keyId).toBe(keyIdOf(publicKey))
  // Several, because one in 256 has a short r or s.
  for (const length of [0, 1, 100, 5000]) {
    const message = Buffer.alloc(length, 7)
    expect(isSignedBy(publicKey, message, await signer.sign(message))).toBe(true)
  }
  const root = await signBy(firstRoot(makeCast()), signer)
  expect(root.length).toBeGreaterThan(1024)
})

test('keys of other kinds are left out; of several, one must be named', async () => {
  await token.generate('EC:edwards25519', '03', 'ed')
  await token.generate('rsa:2048', '04', 'rsa')
  expect((await listTokenKeys({ module })).map(({ id }) => id)).toEqual(['02'])
  await token.generate('EC:prime256v1', '0a', 'second')
  expect(await codeOf(() => openTokenKey({ module, pin }))).toBe('TOKEN_KEY_MISSING')
  expect(await codeOf(() => openTokenKey({ module, pin, id: '03' }))).toBe('TOKEN_KEY_MISSING')
  const signer = await openTokenKey({ module, pin, id: '0A' })
  expect(signer.publicKey['x-trustcast-name']).toBe('second')
})

test('a wrong PIN, a token that is not there and a module that is none are refused', async () => {
  const signer = await openTokenKey({ module, pin: '000000', id: '02' })
  expect(await codeOf(() => signer.sign(Buffer.from('x')))).toBe('TOKEN_WRONG_PIN')
  expect(await codeOf(() => listTokenKeys({ module, token: 'bob' }))).toBe('TOKEN_MISSING')
  expect(await codeOf(() => listTokenKeys({ module: join(token.dir, 'none.so') }))).toBe('TOKEN_MISSING')
  expect(await codeOf(() => listTokenKeys({ module: join(token.dir, 'softhsm2.conf') }))).toBe(
    'TOKEN_MISSING',
  )
})

test('waiting for a token can be given up', async () => {
  const reason = new Error('given up')
  await expect(listTokenKeys({ module }, AbortSignal.abort(reason))).rejects.toBe(reason)
})

test('a raw signature becomes the DER that OpenSSL makes', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  // Enough that short numbers and high first bits come up.
  for (let index = 0; index < 1000; index++) {
    const message = Buffer.from(String(index))
    const raw = sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' })
    expect(verify('sha256', message, publicKey, derOfSignature(raw))).toBe(true)
  }
  const small = Buffer.alloc(64)
  small[31] = 0x80
  small[63] = 1
  expect(Buffer.from(derOfSignature(small)).toString('hex')).toBe('300702020080020101')
  expect(() => derOfSignature(Buffer.alloc(63))).toThrow('expected a signature of 64 bytes')
})
