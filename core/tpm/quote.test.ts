import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodePublicArea, nameOf, requireAttestationKey, TpmError, verifyQuote } from './index.ts'
import { type QuoteVector, swtpm } from './swtpm.fixture.ts'

const kinds = ['ecc', 'rsa'] as const

function verifyOf(vector: QuoteVector, change: Partial<QuoteVector> & { readonly extraData?: Buffer } = {}) {
  const { publicArea, quote, signature, pcrs } = { ...vector, ...change }
  return verifyQuote({
    attest: quote,
    signature,
    publicArea: decodePublicArea(publicArea),
    extraData: change.extraData ?? swtpm.extraData,
    pcrs,
  })
}

function codeOf(run: () => unknown): unknown {
  try {
    return run()
  } catch (error) {
    return error instanceof TpmError ? error.code : error
  }
}

test.for(kinds)('a quote of a real TPM by its %s key verifies', (kind) => {
  const { pcrs, clockInfo, pcrDigest } = verifyOf(swtpm[kind])
  expect([...pcrs.keys()]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 14])
  expect(pcrs.get(7)).not.toEqual(new Uint8Array(32))
  expect(clockInfo).toMatchObject({ resetCount: 2, restartCount: 0, safe: true })
  expect(pcrDigest.length).toBe(32)
})

test.for(kinds)('the name of the %s key is the one its TPM gives it', (kind) => {
  const area = decodePublicArea(swtpm[kind].publicArea)
  requireAttestationKey(area)
  expect(nameOf(area)).toEqual(swtpm[kind].name)
})

test('a quote for another nonce, by another key, or with other PCR values is refused, each by its own code', () => {
  const { ecc, rsa } = swtpm
  expect(codeOf(() => verifyOf(ecc, { extraData: Buffer.alloc(32) }))).toBe('TPM_QUOTE_WRONG_NONCE')
  expect(codeOf(() => verifyOf(ecc, { extraData: Buffer.alloc(0) }))).toBe('TPM_QUOTE_WRONG_NONCE')
  expect(codeOf(() => verifyOf(ecc, { publicArea: rsa.publicArea }))).toBe('TPM_QUOTE_FORGED')
  expect(codeOf(() => verifyOf(ecc, { quote: rsa.quote }))).toBe('TPM_QUOTE_FORGED')
  expect(codeOf(() => verifyOf(ecc, { pcrs: Buffer.alloc(384) }))).toBe('TPM_QUOTE_WRONG_PCRS')
  expect(codeOf(() => verifyOf(ecc, { pcrs: ecc.pcrs.subarray(32) }))).toBe('TPM_QUOTE_WRONG_PCRS')
})

test('a key that may sign anything, or leave its TPM, attests nothing', () => {
  for (const bit of [0x2, 0x10, 0x20, 0x10000, 0x40000]) {
    const area = Buffer.from(swtpm.ecc.publicArea)
    area.writeUInt32BE(area.readUInt32BE(4) & ~bit, 4)
    expect(() => requireAttestationKey(decodePublicArea(area))).toThrow(
      expect.objectContaining({ code: 'TPM_KEY_UNFIT' }),
    )
  }
  expect(() => requireAttestationKey(decodePublicArea(swtpm.ek.rsa))).toThrow(
    expect.objectContaining({ code: 'TPM_KEY_UNFIT' }),
  )
})

test('no changed byte of a quote, its signature or its values goes unnoticed', () => {
  const parts = ['quote', 'signature', 'pcrs'] as const
  fc.assert(
    fc.property(
      fc.constantFrom(...kinds),
      fc.constantFrom(...parts),
      fc.nat(2000),
      fc.integer({ min: 1, max: 255 }),
      (kind, part, place, change) => {
        const bytes = Buffer.from(swtpm[kind][part])
        const at = place % bytes.length
        bytes[at] = (bytes[at] ?? 0) ^ change
        expect(() => verifyOf(swtpm[kind], { [part]: bytes })).toThrow(TpmError)
      },
    ),
  )
})

test('arbitrary bytes in any place are refused with a code', () => {
  const bytes = fc.uint8Array({ maxLength: 1200 }).map((value) => Buffer.from(value))
  fc.assert(
    fc.property(fc.constantFrom('quote', 'signature', 'pcrs', 'publicArea'), bytes, (part, value) => {
      expect(() => verifyOf(swtpm.ecc, { [part]: value })).toThrow(TpmError)
    }),
  )
})

test('cut and lengthened public areas are refused with a code', () => {
  for (const area of [swtpm.ecc.publicArea, swtpm.rsa.publicArea, swtpm.ek.rsa, swtpm.ek.ecc]) {
    for (let length = 0; length < area.length; length++)
      expect(() => decodePublicArea(area.subarray(0, length))).toThrow(TpmError)
    expect(() => decodePublicArea(Buffer.concat([area, Buffer.alloc(1)]))).toThrow(TpmError)
  }
})
