import {
  type CipherGCMTypes,
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  type KeyObject,
} from 'node:crypto'
import type { CipherSuite } from './cipher-suite.ts'
import { TlsError } from './errors.ts'
import { contentType, headerBytes, maxContentBytes, tagBytes } from './record.ts'

const ivBytes = 12

/** Content of a record, without its padding. */
export interface Content {
  readonly type: number
  readonly bytes: Uint8Array
}

/**
 * One direction of a connection: the key of its records and the number of the next. Spec: RFC 8446, sections 5.2, 5.3, 7.2 and 7.3.
 *
 * INVARIANT: each number is used once with a key.
 */
export class Protection {
  readonly #suite: CipherSuite
  /** The secret, and behind it the initialisation vector: a server has ten thousands of these, and memory of its own costs each some hundred bytes. */
  #secretAndIv: Uint8Array
  #key: KeyObject
  #sequence: number

  /**
   * @param secret the direction's application traffic secret
   * @param sequence how many records were protected with it before
   */
  constructor(suite: CipherSuite, secret: Uint8Array, sequence: number) {
    this.#suite = suite
    this.#sequence = sequence
    ;[this.#secretAndIv, this.#key] = derive(suite, secret)
  }

  /** How many records the present key has protected. */
  get sequence(): number {
    return this.#sequence
  }

  /** @param content at most 2^14 bytes of it */
  seal({ type, bytes }: Content): Uint8Array {
    const length = bytes.length + 1 + tagBytes
    const header = Uint8Array.of(contentType.applicationData, 3, 3, length >> 8, length & 0xff)
    const cipher = createCipheriv(this.#algorithm, this.#key, this.#takeNonce(), { authTagLength: tagBytes })
    cipher.setAAD(header)
    const parts = [header, cipher.update(bytes), cipher.update(Uint8Array.of(type)), cipher.final()]
    return Buffer.concat([...parts, cipher.getAuthTag()])
  }

  /**
   * @param record whole, with its header
   * @throws {TlsError} TLS_UNEXPECTED for one that is not protected or is only padding; TLS_BAD_RECORD, TLS_RECORD_OVERFLOW
   */
  open(record: Uint8Array): Content {
    if (record[0] !== contentType.applicationData)
      throw new TlsError('TLS_UNEXPECTED', `expected a protected record, got type ${record[0]}`)
    const inner = this.#decrypt(record)
    const end = inner.findLastIndex((byte) => byte !== 0)
    const type = inner[end]
    if (type === undefined) throw new TlsError('TLS_UNEXPECTED', 'expected content, got padding')
    if (end > maxContentBytes)
      throw new TlsError(
        'TLS_RECORD_OVERFLOW',
        `expected at most ${maxContentBytes} bytes of content, got ${end}`,
      )
    return { type, bytes: inner.subarray(0, end) }
  }

  /** From the next record on with the next key. Spec: section 7.2. */
  update(): void {
    const secret = this.#secretAndIv.subarray(0, -ivBytes)
    ;[this.#secretAndIv, this.#key] = derive(
      this.#suite,
      expand(this.#suite, secret, 'traffic upd', secret.length),
    )
    this.#sequence = 0
  }

  #decrypt(record: Uint8Array): Uint8Array {
    const tagAt = record.length - tagBytes
    if (tagAt < headerBytes)
      throw new TlsError('TLS_BAD_RECORD', `expected a tag, got ${record.length} bytes`)
    const options = { authTagLength: tagBytes }
    const decipher = createDecipheriv(this.#algorithm, this.#key, this.#takeNonce(), options)
    decipher.setAAD(record.subarray(0, headerBytes))
    decipher.setAuthTag(record.subarray(tagAt))
    const inner = decipher.update(record.subarray(headerBytes, tagAt))
    try {
      decipher.final()
    } catch (cause) {
      throw new TlsError('TLS_BAD_RECORD', 'a record was altered, or is not the next one', { cause })
    }
    return inner
  }

  /** Node's types know ChaCha20-Poly1305 apart from GCM, and treat it the same. */
  get #algorithm(): CipherGCMTypes {
    return this.#suite.cipher as CipherGCMTypes
  }

  #takeNonce(): Uint8Array {
    const nonce = this.#secretAndIv.slice(-ivBytes)
    const view = new DataView(nonce.buffer)
    view.setBigUint64(4, view.getBigUint64(4) ^ BigInt(this.#sequence++))
    return nonce
  }
}

/** @returns the secret with the initialisation vector behind it, and the key */
function derive(suite: CipherSuite, secret: Uint8Array): [Uint8Array, KeyObject] {
  const secretAndIv = new Uint8Array(secret.length + ivBytes)
  secretAndIv.set(secret)
  secretAndIv.set(expand(suite, secret, 'iv', ivBytes), secret.length)
  return [secretAndIv, createSecretKey(expand(suite, secret, 'key', suite.keyBytes))]
}

/** HKDF-Expand-Label without a context, of no more than one block. Spec: RFC 8446, section 7.1, and RFC 5869, section 2.3. */
function expand({ hash }: CipherSuite, secret: Uint8Array, label: string, length: number): Uint8Array {
  const name = Buffer.from(`tls13 ${label}`)
  const info = Buffer.concat([
    Uint8Array.of(length >> 8, length & 0xff, name.length),
    name,
    Uint8Array.of(0, 1),
  ])
  return createHmac(hash, createSecretKey(secret)).update(info).digest().subarray(0, length)
}
