import type { DataCopy } from '#core/api/data.ts'
import { type Area, areaOf, imageOf } from '#core/data/index.ts'
import { copyStateNames, modeNames } from '../../words.ts'

/** In which order copies are shown. */

/** Columns by which the table can be ordered. */
export const sortColumns = ['Workspace, person', 'Where', 'Delivered', 'State', 'On the device'] as const
export type SortColumn = (typeof sortColumns)[number]

export interface Order {
  readonly by: SortColumn
  readonly descending: boolean
}

/** Copies that are alike in that stay in the order in which they came. */
export function orderCopies(copies: readonly DataCopy[], { by, descending }: Order): readonly DataCopy[] {
  const compare = comparisons[by]
  return copies.toSorted((a, b) => (descending ? compare(b, a) : compare(a, b)))
}

const comparisons: Readonly<Record<SortColumn, (a: DataCopy, b: DataCopy) => number>> = {
  'Workspace, person': (a, b) =>
    byText(`${a.workspace.name} ${a.person.name}`, `${b.workspace.name} ${b.person.name}`),
  Where: (a, b) => rankOf(a) - rankOf(b) || byText(a.machine.name, b.machine.name),
  Delivered: (a, b) => byText(modeNames[a.mode], modeNames[b.mode]) || byText(imageOf(a), imageOf(b)),
  State: (a, b) => byText(copyStateNames[a.state], copyStateNames[b.state]) || byText(a.since, b.since),
  'On the device': (a, b) => bytesOf(a) - bytesOf(b),
}

const areasFromWorst: readonly Area[] = ['hostile', 'unknown', 'outside', 'inside', 'datacenter']

function rankOf(copy: DataCopy): number {
  return areasFromWorst.indexOf(areaOf(copy))
}

function byText(a: string, b: string): number {
  return a.localeCompare(b)
}

function bytesOf({ stats, replica }: DataCopy): number {
  return stats?.bytesWritten ?? replica?.sizeBytes ?? -1
}
