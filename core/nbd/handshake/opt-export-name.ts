import { decodeUtf8, Writer } from '#core/bytes/index.ts'
import { NbdError } from '../nbd-error.ts'
import { findExport, type NbdExport, transmissionFlags } from '../nbd-export.ts'
import type { Negotiated } from './option.ts'

const reservedZeroes = new Uint8Array(124)

/**
 * The oldest way into transmission. Its answer is no option reply, and it has none for a refusal.
 *
 * Spec: proto.md "Newstyle negotiation": size u64 | transmission flags u16 | 124 zeroes unless they were negotiated away
 *
 * @param data the whole option: a name
 * @throws {NbdError} NBD_UNKNOWN_EXPORT; {BytesError} when the name is not UTF-8
 */
export function exportName(
  data: Uint8Array,
  exports: readonly NbdExport[],
  { structured, noZeroes }: Pick<Negotiated, 'structured'> & { noZeroes: boolean },
): { answer: Uint8Array; export: NbdExport } {
  const chosen = findExport(exports, decodeUtf8(data))
  if (!chosen) throw new NbdError('NBD_UNKNOWN_EXPORT', 'the client chose an export that is not here')
  const answer = new Writer(134)
    .u64(chosen.device.sizeBytes)
    .u16(transmissionFlags(chosen, structured))
    .bytes(noZeroes ? reservedZeroes.subarray(0, 0) : reservedZeroes)
  return { answer: answer.finish(), export: chosen }
}
