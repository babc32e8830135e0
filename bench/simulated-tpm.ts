import { generateKeyPairSync, hash, type KeyObject, sign } from 'node:crypto'
import { type Attestation, quotedPcrs } from '#core/tpm/index.ts'
import { recordedBoot, swtpm } from '#core/tpm/swtpm.fixture.ts'

/**
 * What a site hears of a TPM, without one: an attestation key that lies in memory signs quotes like those that were recorded of a real
 * TPM, of a machine whose boot was recorded. To the site nothing about them is different.
 */
export interface SimulatedKey {
  /** TPMT_PUBLIC. */
  readonly publicArea: Buffer
  readonly privateKey: KeyObject
}

const { log, pcrs } = recordedBoot('secure')
const values = Buffer.concat(quotedPcrs.map((pcr) => pcrs.get(pcr) ?? Buffer.alloc(32)))

/** ECC P-256. */
export function createSimulatedKey(): SimulatedKey {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { x = '', y = '' } = publicKey.export({ format: 'jwk' })
  // TPMT_PUBLIC ends with the point: x 2B, y 2B.
  const publicArea = Buffer.from(swtpm.ecc.publicArea)
  publicArea.set(Buffer.from(x, 'base64url'), publicArea.length - 66)
  publicArea.set(Buffer.from(y, 'base64url'), publicArea.length - 32)
  return { publicArea, privateKey }
}

/** @param extraData 32 bytes */
export function simulateQuote(
  privateKey: KeyObject,
  extraData: Uint8Array,
  { withLog }: { readonly withLog: boolean },
): Attestation {
  // TPMS_ATTEST: magic u32 | type u16 | qualifiedSigner 2B of 34 | extraData 2B | … | pcrDigest 2B
  const quote = Buffer.from(swtpm.ecc.quote)
  quote.set(extraData, 44)
  quote.set(hash('sha256', values, 'buffer'), quote.length - 32)
  const signed = sign('sha256', quote, { key: privateKey, dsaEncoding: 'ieee-p1363' })
  // TPMT_SIGNATURE: ECDSA u16 | SHA-256 u16 | r 2B | s 2B
  const length = Buffer.from([0, 32])
  const scheme = Buffer.from([0, 0x18, 0, 0x0b])
  const signature = Buffer.concat([scheme, length, signed.subarray(0, 32), length, signed.subarray(32)])
  return {
    quote: quote.toString('base64url'),
    signature: signature.toString('base64url'),
    pcrs: values.toString('base64url'),
    ...(withLog ? { eventLog: log.toString('base64url') } : {}),
  }
}
