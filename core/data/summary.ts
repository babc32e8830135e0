import type { DataCopy, DataSummary } from '#core/api/data.ts'

/** Counts copies by where they are and how they came there. */
export function summaryOf(copies: readonly DataCopy[]): DataSummary {
  const outside = copies.filter(isOutside)
  return {
    total: copies.length,
    outside: outside.length,
    readable: outside.filter(isReadable).length,
    byPlace: countBy(copies, ({ place }) => place),
    byMode: countBy(copies, ({ mode }) => mode),
    byZone: countBy(outside, ({ zone }) => zone.kind),
    byState: countBy(copies, ({ state }) => state),
  }
}

/** On a machine that people sit at. */
export function isOutside({ place }: Pick<DataCopy, 'place'>): boolean {
  return place === 'endpoint'
}

/** Whether whoever is at the machine may be able to read it now. */
export function isReadable({ state }: Pick<DataCopy, 'state'>): boolean {
  return state !== 'kept'
}

function countBy(copies: readonly DataCopy[], keyOf: (copy: DataCopy) => string): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const copy of copies) counts[keyOf(copy)] = (counts[keyOf(copy)] ?? 0) + 1
  return counts
}
