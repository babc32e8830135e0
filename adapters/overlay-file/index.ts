export { discardKept } from './discard-kept.ts'
export {
  type DiscardedSlotsOptions,
  type KeptSlotsOptions,
  openDiscardedSlots,
  openKeptSlots,
} from './open-slots.ts'
export { isFull } from './overlay-folder.ts'
export type { FillRandom } from './slot-cipher.ts'
