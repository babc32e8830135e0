import type { CipherSuite } from './cipher-suite.ts'
import { TlsError, type TlsErrorCode } from './errors.ts'
import { Protection } from './protection.ts'
import { contentType, maxContentBytes } from './record.ts'

/** One direction, as the handshake left it. */
export interface DirectionState {
  /** Its application traffic secret. */
  readonly secret: Uint8Array
  /** How many records it has protected already. */
  readonly sequence: number
}

export interface Established {
  readonly suite: CipherSuite
  readonly receiving: DirectionState
  readonly sending: DirectionState
}

/** What a record came to: bytes of the peer, its goodbye, or nothing for the caller. */
export type Received =
  | { readonly kind: 'data'; readonly bytes: Uint8Array }
  | { readonly kind: 'closed' }
  | { readonly kind: 'updated' }

/** Spec: RFC 8446, sections 4 and 4.6.3: msg_type u8 | length u24 | request_update u8 */
const keyUpdate = 24
/** Well below where AES-GCM is no longer safe with one key. Spec: section 5.5. */
const recordsOfOneKey = 2 ** 24
const warning = 1
const fatal = 2
const closeNotify = 0

/** Spec: section 6.2. */
const alertOf: Readonly<Record<TlsErrorCode, number | undefined>> = {
  TLS_BAD_RECORD: 20,
  TLS_RECORD_OVERFLOW: 22,
  TLS_UNEXPECTED: 10,
  TLS_ALERT: undefined,
}

/**
 * A TLS 1.3 connection whose handshake is over: protected records in both directions, KeyUpdate and alerts. Spec: RFC 8446, sections
 * 4.6.3, 5 and 6. It has no I/O: records that came go in, records to send come out, in order.
 */
export class TlsConnection {
  readonly #receiving: Protection
  readonly #sending: Protection
  /** The peer wants ours to be updated, too: once before what we say next, however often it was asked for. Spec: section 4.6.3. */
  #owesUpdate = false

  constructor({ suite, receiving, sending }: Established) {
    this.#receiving = new Protection(suite, receiving.secret, receiving.sequence)
    this.#sending = new Protection(suite, sending.secret, sending.sequence)
  }

  /**
   * @param record whole, the next one that came
   * @throws {TlsError} after which the connection is to be ended with `alert`
   */
  receive(record: Uint8Array): Received {
    const { type, bytes } = this.#receiving.open(record)
    switch (type) {
      case contentType.applicationData:
        return { kind: 'data', bytes }
      case contentType.alert:
        return closedBy(bytes)
      case contentType.handshake:
        return this.#updated(bytes)
      default:
        throw new TlsError('TLS_UNEXPECTED', `expected data, an alert or a message, got type ${type}`)
    }
  }

  /** @returns records, one after the other */
  send(bytes: Uint8Array): Uint8Array[] {
    const records: Uint8Array[] = []
    for (let start = 0; start < bytes.length; start += maxContentBytes) {
      if (this.#owesUpdate || this.#sending.sequence >= recordsOfOneKey) records.push(this.#update())
      const part = bytes.subarray(start, start + maxContentBytes)
      records.push(this.#sending.seal({ type: contentType.applicationData, bytes: part }))
    }
    return records
  }

  /** The record that says that nothing follows. */
  close(): Uint8Array {
    return this.#alert(warning, closeNotify)
  }

  /** The record that tells the peer of an error of `receive`; undefined when there is nothing to tell. */
  alert(error: unknown): Uint8Array | undefined {
    const description = error instanceof TlsError ? alertOf[error.code] : undefined
    return description === undefined ? undefined : this.#alert(fatal, description)
  }

  #updated(bytes: Uint8Array): Received {
    const [type, high, middle, low, request, ...more] = bytes
    const isUpdate = type === keyUpdate && high === 0 && middle === 0 && low === 1 && more.length === 0
    if (!isUpdate || (request !== 0 && request !== 1))
      throw new TlsError('TLS_UNEXPECTED', `expected KeyUpdate, got a message of type ${type}`)
    this.#receiving.update()
    if (request === 1) this.#owesUpdate = true
    return { kind: 'updated' }
  }

  #update(): Uint8Array {
    const bytes = Uint8Array.of(keyUpdate, 0, 0, 1, 0)
    const record = this.#sending.seal({ type: contentType.handshake, bytes })
    this.#sending.update()
    this.#owesUpdate = false
    return record
  }

  #alert(level: number, description: number): Uint8Array {
    return this.#sending.seal({ type: contentType.alert, bytes: Uint8Array.of(level, description) })
  }
}

function closedBy(alert: Uint8Array): Received {
  const [, description, ...more] = alert
  if (description === undefined || more.length > 0)
    throw new TlsError('TLS_UNEXPECTED', `expected an alert of two bytes, got ${alert.length}`)
  if (description !== closeNotify)
    throw new TlsError('TLS_ALERT', `the peer ended the connection by alert ${description}`)
  return { kind: 'closed' }
}
