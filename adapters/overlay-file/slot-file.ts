import { OverlayError } from '#core/block/overlay-error.ts'
import { settled } from '#core/block/settled.ts'
import { slotBytes } from '#core/block/slot-store.ts'
import type { OverlayFile } from './overlay-folder.ts'
import { type SlotCipher, sealedBytes } from './slot-cipher.ts'
import type { SlotRange } from './slot-space.ts'

/** What is read at once. Slots between those that are wanted are read, too, when they are few. */
const longestReadSlots = 254
const gapSlots = 8

/** Where a block was when its reading began. */
export interface Placed {
  readonly index: number
  readonly block: number
  readonly slot: number
  readonly mark: bigint
}

/** Writes sealed blocks, which lie one after the other in `sealed`, to the slots of `ranges`. */
export async function writeSlots(
  file: OverlayFile,
  sealed: Uint8Array,
  ranges: readonly SlotRange[],
): Promise<void> {
  let at = 0
  const writes = ranges.map(({ slot, count }) => {
    const bytes = sealed.subarray(at, at + count * sealedBytes)
    at += bytes.length
    return file.write(bytes, slot * sealedBytes)
  })
  await settled(writes)
}

/**
 * Reads blocks and opens them into `into`, at their index.
 *
 * @returns those that are not what their mark says
 */
export async function readSlots(
  file: OverlayFile,
  cipher: SlotCipher,
  places: readonly Placed[],
  into: Uint8Array,
): Promise<Placed[]> {
  const failed: Placed[] = []
  const read = async (group: readonly Placed[]): Promise<void> => {
    const [first, last] = [group[0], group.at(-1)]
    if (first === undefined || last === undefined) return
    const sealed = new Uint8Array((last.slot - first.slot + 1) * sealedBytes)
    const position = first.slot * sealedBytes
    const length = file.readNow?.(sealed, position) ?? (await file.read(sealed, position))
    for (const placed of group) {
      const at = (placed.slot - first.slot) * sealedBytes
      const text =
        at + sealedBytes <= length
          ? cipher.open(placed.block, placed.mark, sealed.subarray(at, at + sealedBytes))
          : undefined
      if (text) into.set(text, placed.index * slotBytes)
      else failed.push(placed)
    }
  }
  await Promise.all(groups(places).map(read))
  return failed
}

/** @param block that is not what was written */
export function blockCorrupt(block: number): OverlayError {
  return new OverlayError('OVERLAY_CORRUPT', `block ${block} of the overlay is not what was written`, {
    remedy: 'Check the disk that keeps the overlay; put it back from a copy, or begin a new one.',
  })
}

/** What lies close together, so that it is read at once. */
function groups(places: readonly Placed[]): Placed[][] {
  const isSorted = places.every(
    (placed, index) => index === 0 || placed.slot > (places[index - 1]?.slot ?? 0),
  )
  const found: Placed[][] = []
  for (const placed of isSorted ? places : places.toSorted((a, b) => a.slot - b.slot)) {
    const group = found.at(-1)
    const [first, last] = [group?.[0], group?.at(-1)]
    const joins =
      first !== undefined &&
      last !== undefined &&
      placed.slot - last.slot <= gapSlots &&
      placed.slot - first.slot < longestReadSlots
    if (joins) group?.push(placed)
    else found.push([placed])
  }
  return found
}
