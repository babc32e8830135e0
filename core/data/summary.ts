import type { DataCopy, DataQuery, DataSummary } from '#core/api/data.ts'

/** Counts copies by where they are and how they came there. */
export function emptySummary(): DataSummary {
  return {
    total: 0,
    outside: 0,
    readable: 0,
    byPlace: {},
    byMode: {},
    byZone: {},
    byState: {},
    byArea: {},
  }
}

/** Counts one more. */
export function addToSummary(summary: DataSummary, copy: DataCopy): void {
  const { place, mode, state, zone } = copy
  summary.total += 1
  countOne(summary.byPlace, place)
  countOne(summary.byMode, mode)
  countOne(summary.byState, state)
  const states = (summary.byArea[areaOf(copy)] ??= {})
  countOne(states, state)
  if (!isOutside(copy)) return
  summary.outside += 1
  if (isReadable(copy)) summary.readable += 1
  countOne(summary.byZone, zone.kind)
}

/** On a machine that people sit at. */
export function isOutside({ place }: Pick<DataCopy, 'place'>): boolean {
  return place === 'endpoint'
}

/** A part of the picture: what is in the data centre, or what is on endpoints in one kind of zone. */
export type Area = NonNullable<DataQuery['area']>

export function areaOf(copy: Pick<DataCopy, 'place' | 'zone'>): Area {
  return isOutside(copy) ? copy.zone.kind : 'datacenter'
}

/** Whether whoever is at the machine may be able to read it now. */
export function isReadable({ state }: Pick<DataCopy, 'state'>): boolean {
  return state !== 'kept'
}

function countOne(counts: Record<string, number>, key: string): void {
  counts[key] = (counts[key] ?? 0) + 1
}
