import { concatBytes } from '#core/bytes/index.ts'
import { TlsError } from './errors.ts'

/** Spec: RFC 8446, section 5.1: type u8 | legacy_record_version u16 | length u16 | fragment */
export const headerBytes = 5
export const tagBytes = 16
/** Of one record's content. */
export const maxContentBytes = 2 ** 14
/** Content, its type, padding and tag. Spec: section 5.2. */
const maxFragmentBytes = maxContentBytes + 256

const [firstType, lastType] = [20, 23] as const
const majorVersion = 3

export const contentType = { alert: 21, handshake: 22, applicationData: 23 } as const

/**
 * How long the record is that `bytes` begin with, with its header.
 *
 * @returns undefined while its header is not whole
 * @throws {TlsError} TLS_UNEXPECTED for what no record begins with; TLS_RECORD_OVERFLOW
 */
function recordBytes(bytes: Uint8Array): number | undefined {
  const type = bytes[0]
  const version = bytes[1]
  const high = bytes[3]
  const low = bytes[4]
  if (type !== undefined && (type < firstType || type > lastType))
    throw new TlsError('TLS_UNEXPECTED', `expected a record, got type ${type}`)
  if (version !== undefined && version !== majorVersion)
    throw new TlsError('TLS_UNEXPECTED', `expected a record of TLS, got version ${version}`)
  if (high === undefined || low === undefined) return undefined
  const length = high * 256 + low
  if (length > maxFragmentBytes)
    throw new TlsError('TLS_RECORD_OVERFLOW', `expected at most ${maxFragmentBytes} bytes, got ${length}`)
  return headerBytes + length
}

const none = new Uint8Array(0)

/** Bytes as they come, as whole records. */
export class RecordSplitter {
  #rest: Uint8Array = none

  /** @param bytes that follow those before */
  add(bytes: Uint8Array): void {
    this.#rest = this.#rest.length === 0 ? bytes : concatBytes(this.#rest, bytes)
  }

  /**
   * @returns the next record, a view of what was added; undefined until more bytes have come
   * @throws {TlsError} TLS_UNEXPECTED, TLS_RECORD_OVERFLOW
   */
  next(): Uint8Array | undefined {
    const rest = this.#rest
    const length = recordBytes(rest)
    if (length === undefined || rest.length < length) {
      // A copy: a view would hold on to all that was read with it.
      this.#rest = rest.length === 0 ? none : Uint8Array.from(rest)
      return undefined
    }
    this.#rest = rest.subarray(length)
    return rest.subarray(0, length)
  }
}
