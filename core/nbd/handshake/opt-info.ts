import { Reader, Writer } from '#core/bytes/index.ts'
import {
  maximumPayloadBytes,
  maximumStringBytes,
  minimumBlockBytes,
  NBD_INFO,
  NBD_REP,
  preferredBlockBytes,
} from '../constants.ts'
import { findExport, type NbdExport, transmissionFlags } from '../nbd-export.ts'
import { acknowledged, type OptionAnswer, readString, unknownExport } from './option.ts'

/**
 * NBD_OPT_INFO and NBD_OPT_GO. The size of the export comes always, the rest when it is asked for. The block sizes
 * are the protocol's defaults, so that nobody has to ask for them.
 *
 * Spec: proto.md: name length u32 | name | number of requests u16 | requests u16 each
 *
 * @throws {BytesError} when the option is malformed
 */
export function info(
  data: Uint8Array,
  exports: readonly NbdExport[],
  structured: boolean,
): { answer: OptionAnswer; export: NbdExport | undefined } {
  const { name, requests } = decodeInfoRequest(data)
  const chosen = findExport(exports, name)
  if (!chosen) return { answer: unknownExport(), export: undefined }
  const infos = [
    infoOf(NBD_INFO.EXPORT).u64(chosen.device.sizeBytes).u16(transmissionFlags(chosen, structured)),
    ...(requests.has(NBD_INFO.NAME) ? [infoOf(NBD_INFO.NAME).utf8(chosen.name)] : []),
    ...(requests.has(NBD_INFO.DESCRIPTION) && chosen.description !== undefined
      ? [infoOf(NBD_INFO.DESCRIPTION).utf8(chosen.description)]
      : []),
    ...(requests.has(NBD_INFO.BLOCK_SIZE)
      ? [infoOf(NBD_INFO.BLOCK_SIZE).u32(minimumBlockBytes).u32(preferredBlockBytes).u32(maximumPayloadBytes)]
      : []),
  ]
  const replies = infos.map((written) => ({ type: NBD_REP.INFO, data: written.finish() }))
  return { answer: acknowledged(...replies), export: chosen }
}

function decodeInfoRequest(data: Uint8Array): { name: string; requests: ReadonlySet<number> } {
  const fields = new Reader(data)
  const name = readString(fields)
  const requests = new Set<number>()
  for (let left = fields.u16(); left > 0; left--) requests.add(fields.u16())
  fields.end()
  return { name, requests }
}

function infoOf(type: number): Writer {
  return new Writer(2 + maximumStringBytes).u16(type)
}
