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
  #secret: Uint8Array
  #key: KeyObject
  #iv: Uint8Array
  #sequence: number

  /**
   * @param secret the direction's application traffic secret
   * @param sequence how many records were protected with it before
   */
  constructor(suite: CipherSuite, secret: Uint8Array, sequence: number) {
    this.#suite = suite
    this.#secret = secret
    this.#sequence = sequence
    this.#key = this.#writeKey()
    this.#iv = this.#writeIv()
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
    this.#secret = this.#expand('traffic upd', this.#secret.length)
    this.#key = this.#writeKey()
    this.#iv = this.#writeIv()
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
    const nonce = Uint8Array.from(this.#iv)
    const view = new DataView(nonce.buffer)
    view.setBigUint64(4, view.getBigUint64(4) ^ BigInt(this.#sequence++))
    return nonce
  }

  #writeKey(): KeyObject {
    return createSecretKey(this.#expand('key', this.#suite.keyBytes))
  }

  #writeIv(): Uint8Array {
    return this.#expand('iv', 12)
  }

  /** HKDF-Expand-Label without a context, of no more than one block. Spec: section 7.1 and RFC 5869, section 2.3. */
  #expand(label: string, length: number): Uint8Array {
    const name = Buffer.from(`tls13 ${label}`)
    const info = Buffer.concat([
      Uint8Array.of(length >> 8, length & 0xff, name.length),
      name,
      Uint8Array.of(0, 1),
    ])
    const block = createHmac(this.#suite.hash, createSecretKey(this.#secret)).update(info).digest()
    return Uint8Array.from(block.subarray(0, length))
  }
}
