import { Writer } from '#core/bytes/index.ts'
import { maximumStringBytes, NBD_REP } from '../constants.ts'
import type { NbdExport } from '../nbd-export.ts'
import { acknowledged, type OptionAnswer } from './option.ts'

/** Spec: proto.md "NBD_REP_SERVER": length of name u32 | name | description */
export function list(exports: readonly NbdExport[]): OptionAnswer {
  return acknowledged(
    ...exports.map(({ name, description = '' }) => {
      const encodedName = new Writer(maximumStringBytes).utf8(name).finish()
      const data = new Writer(4 + 2 * maximumStringBytes)
        .u32(encodedName.length)
        .bytes(encodedName)
        .utf8(description)
        .finish()
      return { type: NBD_REP.SERVER, data }
    }),
  )
}
