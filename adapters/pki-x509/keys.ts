import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  type webcrypto,
} from 'node:crypto'
import { x509 } from './x509.ts'

/** All keys here are ECDSA over P-256 with SHA-256: what browsers, OpenSSL and TPMs all take. */
const keyAlgorithm: { readonly name: 'ECDSA'; readonly namedCurve: 'P-256' } = {
  name: 'ECDSA',
  namedCurve: 'P-256',
}
export const signingAlgorithm: { readonly name: 'ECDSA'; readonly hash: 'SHA-256' } = {
  name: 'ECDSA',
  hash: 'SHA-256',
}

/** A key of one's own and the request that proves its possession. */
export interface IdentityKey {
  /** PKCS #8. */
  readonly privateKeyPem: string
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKey: Uint8Array<ArrayBuffer>
  /** PKCS #10. Names nobody: who it is for, the site knows from elsewhere. */
  readonly requestPem: string
}

/** Makes a key and a certificate request for it. The private key need never leave the machine. */
export async function createIdentityKey(): Promise<IdentityKey> {
  return requestFor(generateKeyPairSync('ec', { namedCurve: keyAlgorithm.namedCurve }).privateKey)
}

/** @param privateKey as `createIdentityKey` has made it */
export async function requestFor(privateKey: KeyObject): Promise<IdentityKey> {
  const publicKey = createPublicKey(privateKey)
  const keys = {
    privateKey: signingKey(privateKey),
    publicKey: publicKey.toCryptoKey(keyAlgorithm, true, ['verify']),
  }
  const request = await x509().Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm })
  return {
    privateKeyPem: exportKey(privateKey),
    publicKey: exportPublic(publicKey),
    requestPem: request.toString('pem'),
  }
}

/** @throws whatever node:crypto throws on a text that is no private key */
export function readSigningKey(pem: string): webcrypto.CryptoKey {
  return signingKey(createPrivateKey(pem))
}

/** A new key pair for an authority. */
export function createSigningKey(): {
  pem: string
  signingKey: webcrypto.CryptoKey
  publicKey: Uint8Array<ArrayBuffer>
} {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: keyAlgorithm.namedCurve })
  return {
    pem: exportKey(privateKey),
    signingKey: signingKey(privateKey),
    publicKey: exportPublic(publicKey),
  }
}

/** 127 random bits, positive and without leading zero: RFC 5280, section 4.1.2.2. */
export function createSerial(): string {
  const serial = randomBytes(16)
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40
  return serial.toString('hex')
}

function signingKey(key: KeyObject): webcrypto.CryptoKey {
  return key.toCryptoKey(keyAlgorithm, false, ['sign'])
}

function exportKey(key: KeyObject): string {
  return key.export({ format: 'pem', type: 'pkcs8' }).toString()
}

/** SubjectPublicKeyInfo, DER. */
export function exportPublic(key: KeyObject): Uint8Array<ArrayBuffer> {
  return new Uint8Array(key.export({ format: 'der', type: 'spki' }))
}
