import type { Extent } from './block-device.ts'

/** Adds what comes next; what is alike becomes one. */
export function appendExtent(extents: Extent[], next: Extent): void {
  const last = extents.at(-1)
  if (next.length === 0) return
  if (last?.kind === next.kind) extents[extents.length - 1] = { ...last, length: last.length + next.length }
  else extents.push(next)
}
