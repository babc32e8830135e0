import type { BlockDevice } from '#core/block/block-device.ts'
import { NBD_FLAG } from './constants.ts'

/** A device under a name. */
export interface NbdExport {
  /** At most 4096 bytes of UTF-8. */
  readonly name: string
  /** For people; at most 4096 bytes of UTF-8. */
  readonly description?: string
  readonly device: BlockDevice
}

/**
 * The export of a name. The empty name means the default export, which is the first.
 *
 * @returns undefined when there is none
 */
export function findExport(exports: readonly NbdExport[], name: string): NbdExport | undefined {
  return exports.find((candidate) => candidate.name === name) ?? (name === '' ? exports[0] : undefined)
}

/**
 * Several connections are always allowed: all of them reach the same device, so that a flush on one is a flush for all.
 *
 * Spec: proto.md "Transmission flags"
 */
export function transmissionFlags({ device }: NbdExport, structured: boolean): number {
  return (
    NBD_FLAG.HAS_FLAGS |
    NBD_FLAG.CAN_MULTI_CONN |
    NBD_FLAG.SEND_CACHE |
    (structured ? NBD_FLAG.SEND_DF : 0) |
    (device.write ? writing : NBD_FLAG.READ_ONLY)
  )
}

/** A device that can be written can do all of it. */
const writing =
  NBD_FLAG.SEND_FLUSH |
  NBD_FLAG.SEND_FUA |
  NBD_FLAG.SEND_TRIM |
  NBD_FLAG.SEND_WRITE_ZEROES |
  NBD_FLAG.SEND_FAST_ZERO
