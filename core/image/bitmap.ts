/** How the bits of a byte are numbered: VHD counts from the most significant one, VHDX from the least. */
export type BitOrder = 'msb-first' | 'lsb-first'

export interface Run {
  readonly length: number
  readonly isSet: boolean
}

/** The runs of equal bits among those from `start` to below `end`, in order. */
export function runsOf(bitmap: Uint8Array, order: BitOrder, start: number, end: number): Run[] {
  const runs: Run[] = []
  let index = start
  while (index < end) {
    const isSet = bitAt(bitmap, order, index)
    const next = runEnd(bitmap, order, { start: index, end, isSet })
    runs.push({ length: next - index, isSet })
    index = next
  }
  return runs
}

function runEnd(
  bitmap: Uint8Array,
  order: BitOrder,
  { start, end, isSet }: { start: number; end: number; isSet: boolean },
): number {
  const full = isSet ? 0xff : 0
  let index = start
  while (index < end) {
    if (index % 8 === 0 && bitmap[index / 8] === full) index += 8
    else if (bitAt(bitmap, order, index) === isSet) index += 1
    else break
  }
  return Math.min(index, end)
}

function bitAt(bitmap: Uint8Array, order: BitOrder, index: number): boolean {
  const bit = order === 'lsb-first' ? index % 8 : 7 - (index % 8)
  return (((bitmap[Math.floor(index / 8)] ?? 0) >> bit) & 1) === 1
}
