import type { Extent } from '#core/block/block-device.ts'
import { NBD_STATE_HOLE, NBD_STATE_ZERO } from '../constants.ts'

/** One entry of a block status reply. */
export interface Descriptor {
  readonly length: number
  /** NBD_STATE bits. */
  readonly status: number
}

/** A reply says less than was asked for rather than have more descriptors. */
export const maximumDescriptors = 4096

/**
 * Appends what follows to descriptors and joins neighbours of one status.
 *
 * @returns false when `maximumDescriptors` are full and the rest was left out: nothing may be appended any more
 */
export function appendExtents(descriptors: Descriptor[], extents: readonly Extent[]): boolean {
  for (const { length, kind } of extents) {
    const status = statusOf[kind]
    const last = descriptors.at(-1)
    if (last?.status === status) {
      descriptors[descriptors.length - 1] = { length: last.length + length, status }
    } else if (descriptors.length < maximumDescriptors) {
      descriptors.push({ length, status })
    } else {
      return false
    }
  }
  return true
}

/** Spec: proto.md "`base:allocation` metadata context" */
const statusOf: Readonly<Record<Extent['kind'], number>> = {
  data: 0,
  zero: NBD_STATE_ZERO,
  hole: NBD_STATE_HOLE | NBD_STATE_ZERO,
}
