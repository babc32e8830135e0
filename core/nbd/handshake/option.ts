import { decodeUtf8, Reader, Writer } from '#core/bytes/index.ts'
import {
  maximumOptionBytes,
  maximumStringBytes,
  NBD_OPTS_MAGIC,
  NBD_REP,
  NBD_REP_MAGIC,
} from '../constants.ts'
import { NbdError } from '../nbd-error.ts'
import type { NbdExport } from '../nbd-export.ts'

/** What the client has asked for and got, until it begins TLS anew. */
export interface Negotiated {
  readonly structured: boolean
  /** The export for which the client chose `base:allocation`. */
  readonly allocationOf: NbdExport | undefined
}

export interface OptionReply {
  readonly type: number
  readonly data?: Uint8Array
}

/** The answer to an option of fixed newstyle: its replies, the last of which is final, and what changes by it. */
export interface OptionAnswer {
  readonly replies: readonly OptionReply[]
  /** Absent: as before. */
  readonly negotiated?: Negotiated
  /** What the client may do now instead of sending another option. */
  readonly next?: { kind: 'transmission'; export: NbdExport } | { kind: 'starttls' } | { kind: 'end' }
}

export const optionHeaderBytes = 16

/**
 * Spec: proto.md "Newstyle negotiation": magic u64 | option u32 | length u32
 *
 * @throws {NbdError} NBD_BAD_MAGIC, NBD_TOO_LONG
 */
export function decodeOptionHeader(header: Uint8Array): { option: number; length: number } {
  const fields = new Reader(header)
  const magic = fields.u64()
  if (magic !== NBD_OPTS_MAGIC)
    throw new NbdError('NBD_BAD_MAGIC', `expected an option, got the magic number ${magic.toString(16)}`)
  const [option, length] = [fields.u32(), fields.u32()]
  if (length > maximumOptionBytes)
    throw new NbdError(
      'NBD_TOO_LONG',
      `expected at most ${maximumOptionBytes} bytes of option, got ${length}`,
    )
  return { option, length }
}

/** Spec: proto.md "Fixed newstyle negotiation": magic u64 | option u32 | reply type u32 | length u32 | data */
export function encodeOptionReply(
  option: number,
  { type, data = new Uint8Array(0) }: OptionReply,
): Uint8Array {
  return new Writer(20 + data.length)
    .u64(NBD_REP_MAGIC)
    .u32(option)
    .u32(type)
    .u32(data.length)
    .bytes(data)
    .finish()
}

export function acknowledged(...before: readonly OptionReply[]): OptionAnswer {
  return { replies: [...before, { type: NBD_REP.ACK }] }
}

export function refused(type: number, message: string): OptionAnswer {
  return { replies: [{ type, data: new Writer(maximumStringBytes).utf8(message).finish() }] }
}

export function unknownExport(): OptionAnswer {
  return refused(NBD_REP.ERR_UNKNOWN, 'there is no such export')
}

/**
 * A string with its length before it. Spec: proto.md "Values": at most 4096 bytes.
 *
 * @throws {BytesError} when it is longer, cut off or not UTF-8
 */
export function readString(fields: Reader): string {
  return decodeUtf8(new Reader(fields.bytes(fields.u32())).rest(maximumStringBytes))
}
