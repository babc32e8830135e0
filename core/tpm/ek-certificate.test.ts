import { X509Certificate } from 'node:crypto'
import { expect, test } from 'vitest'
import { decodePublicArea, makeCredential, nameOf, TpmError, verifyEndorsement } from './index.ts'
import { swtpm } from './swtpm.fixture.ts'

const { ek } = swtpm
const issuer = new X509Certificate(ek.issuer)
const area = decodePublicArea(ek.rsa)
const refused = (code: string): Error => expect.objectContaining({ code }) as Error

test('an endorsement key that a trusted authority certified is known by its fingerprint', () => {
  expect(verifyEndorsement(ek.certificate, area, [issuer])).toMatch(/^[0-9a-f]{64}$/)
})

test('no authority, another one, another key, or no key for endorsement: each has its code', () => {
  const other = new X509Certificate(ek.certificate)
  expect(() => verifyEndorsement(ek.certificate, area, [])).toThrow(refused('TPM_NOT_CONFIGURED'))
  expect(() => verifyEndorsement(ek.certificate, area, [other])).toThrow(refused('TPM_EK_UNTRUSTED'))
  expect(() => verifyEndorsement(ek.certificate, decodePublicArea(ek.ecc), [issuer])).toThrow(
    refused('TPM_EK_MISMATCH'),
  )
  expect(() => verifyEndorsement(ek.certificate, decodePublicArea(swtpm.rsa.publicArea), [issuer])).toThrow(
    refused('TPM_KEY_UNFIT'),
  )
  // The authority's own certificate is for no endorsement key.
  expect(() => verifyEndorsement(issuer.raw, area, [issuer])).toThrow(refused('TPM_EK_UNTRUSTED'))
  expect(() => verifyEndorsement(Buffer.from('none'), area, [issuer])).toThrow(refused('TPM_MALFORMED'))
})

test('a credential is made for an endorsement key alone', () => {
  const name = nameOf(decodePublicArea(swtpm.ecc.publicArea))
  for (const key of [ek.rsa, ek.ecc]) {
    const made = makeCredential(decodePublicArea(key), name, Buffer.alloc(32, 7))
    expect(made.idObject.readUInt16BE()).toBe(made.idObject.length - 2)
    expect(made.encryptedSecret.readUInt16BE()).toBe(made.encryptedSecret.length - 2)
  }
  expect(() => makeCredential(decodePublicArea(swtpm.ecc.publicArea), name, Buffer.alloc(32))).toThrow(
    TpmError,
  )
  expect(() => makeCredential(area, name, Buffer.alloc(33))).toThrow(TpmError)
})
