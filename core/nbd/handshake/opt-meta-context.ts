import { Reader, Writer } from '#core/bytes/index.ts'
import { baseAllocation, baseAllocationId, maximumStringBytes, NBD_REP } from '../constants.ts'
import { findExport, type NbdExport } from '../nbd-export.ts'
import {
  acknowledged,
  type Negotiated,
  type OptionAnswer,
  type OptionReply,
  readString,
  refused,
  unknownExport,
} from './option.ts'

/** The query for everything in the namespace; only for listing. */
const baseNamespace = 'base:'

/** @throws {BytesError} when the option is malformed */
export function listMetaContext(
  data: Uint8Array,
  exports: readonly NbdExport[],
  { structured }: Negotiated,
): OptionAnswer {
  if (!structured) return needsStructured()
  const { name, queries } = decodeMetaContextRequest(data)
  if (!findExport(exports, name)) return unknownExport()
  const matches = queries.size === 0 || queries.has(baseNamespace) || queries.has(baseAllocation)
  return acknowledged(...(matches ? [metaContext(0)] : []))
}

/**
 * Replaces what was chosen before, also when it fails.
 *
 * @throws {BytesError} when the option is malformed
 */
export function setMetaContext(
  data: Uint8Array,
  exports: readonly NbdExport[],
  { structured }: Negotiated,
): OptionAnswer {
  if (!structured) return needsStructured()
  const { name, queries } = decodeMetaContextRequest(data)
  const chosen = findExport(exports, name)
  if (!chosen) return unknownExport()
  if (!queries.has(baseAllocation)) return acknowledged()
  return { ...acknowledged(metaContext(baseAllocationId)), negotiated: { structured, allocationOf: chosen } }
}

/** Spec: proto.md "NBD_OPT_LIST_META_CONTEXT": name length u32 | name | number of queries u32 | (length u32 | query) each */
function decodeMetaContextRequest(data: Uint8Array): { name: string; queries: ReadonlySet<string> } {
  const fields = new Reader(data)
  const name = readString(fields)
  const queries = new Set<string>()
  // Bounded by the option's length: each query takes at least four bytes.
  for (let left = fields.u32(); left > 0; left--) queries.add(readString(fields))
  fields.end()
  return { name, queries }
}

/** Spec: proto.md "NBD_REP_META_CONTEXT": ID u32 | name */
function metaContext(id: number): OptionReply {
  const data = new Writer(4 + maximumStringBytes).u32(id).utf8(baseAllocation).finish()
  return { type: NBD_REP.META_CONTEXT, data }
}

function needsStructured(): OptionAnswer {
  return refused(NBD_REP.ERR_INVALID, 'structured replies must be negotiated before')
}
