import { decodeUtf8, Reader, Writer } from '#core/bytes/index.ts'
import { ChannelError } from './errors.ts'
import { maximumMessageBytes } from './noise.ts'
import { guarded, safeCount } from './open-message.ts'

/** Most bytes a DATA, NOTICE or CLOSE frame carries: a Noise message less its tag and the type. */
export const maximumBodyBytes: number = maximumMessageBytes - 16 - 1

/** Longest CLOSE reason in UTF-8 bytes. */
const maximumReasonBytes = 1024

export const frameTypes = { data: 1, ack: 2, ping: 3, pong: 4, notice: 5, close: 6 } as const

/**
 * What is inside one record: type u8 | body
 *
 *     1 DATA     bytes                    sequenced
 *     2 ACK      u64 received in total
 *     3 PING     u64                      answered by
 *     4 PONG     u64                      the same number
 *     5 NOTICE   bytes                    sequenced
 *     6 CLOSE    reason, UTF-8            sequenced, the last one
 *
 * Sequenced frames are numbered, acknowledged and replayed by `sequenceLength`; each is received whole or not at all.
 */
export type Frame = SequencedFrame | ControlFrame

export type SequencedFrame =
  | { readonly type: 'data' | 'notice'; readonly bytes: Uint8Array }
  | { readonly type: 'close'; readonly bytes: Uint8Array; readonly reason: string }

export type ControlFrame =
  | { readonly type: 'ack'; readonly received: number }
  | { readonly type: 'ping' | 'pong'; readonly number: bigint }

/** The body of a CLOSE; a reason that is too long is cut. */
export function encodeReason(reason: string): Uint8Array {
  const bytes = new Uint8Array(maximumReasonBytes)
  // Writes whole characters only, so what is cut is still UTF-8.
  return bytes.subarray(0, new TextEncoder().encodeInto(reason, bytes).written)
}

/** How far a sequenced frame moves the count. One more than its body, so that empty notices count, too. */
export function sequenceLength(bodyBytes: number): number {
  return bodyBytes + 1
}

/**
 * @param bytes the plaintext of one record, from the authenticated other end but not trusted
 * @throws {ChannelError} CHANNEL_MALFORMED
 */
export function decodeFrame(bytes: Uint8Array): Frame {
  return guarded('frame', () => {
    const reader = new Reader(bytes)
    const type = reader.u8()
    switch (type) {
      case frameTypes.data:
        return { type: 'data', bytes: reader.rest(maximumBodyBytes) }
      case frameTypes.notice:
        return { type: 'notice', bytes: reader.rest(maximumBodyBytes) }
      case frameTypes.close:
        return closeFrame(reader.rest(maximumReasonBytes))
      case frameTypes.ack:
        return { type: 'ack', received: safeCount(lastU64(reader)) }
      case frameTypes.ping:
        return { type: 'ping', number: lastU64(reader) }
      case frameTypes.pong:
        return { type: 'pong', number: lastU64(reader) }
      default:
        throw new ChannelError('CHANNEL_MALFORMED', `expected a frame type from 1 to 6, got ${type}`)
    }
  })
}

/** Encodes a frame that is not sequenced; the outbox makes the others. */
export function encodeControl(frame: ControlFrame): Uint8Array {
  const writer = new Writer(9).u8(frameTypes[frame.type])
  return writer.u64(frame.type === 'ack' ? BigInt(frame.received) : frame.number).finish()
}

function closeFrame(bytes: Uint8Array): SequencedFrame {
  return { type: 'close', bytes, reason: decodeUtf8(bytes) }
}

function lastU64(reader: Reader): bigint {
  const value = reader.u64()
  reader.end()
  return value
}
