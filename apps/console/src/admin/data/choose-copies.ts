import type { DataCopy } from '#core/api/data.ts'
import { isOutside, protectionSentences } from '#core/data/index.ts'
import { copyStateNames, modeNames, zoneKindNames } from '../../words.ts'

/** Which copies are shown, and in which order. */

/** A part of the picture: what runs in the data centre, or what is on endpoints in one kind of zone. */
export type Area = 'datacenter' | DataCopy['zone']['kind']

export function areaOf(copy: DataCopy): Area {
  return isOutside(copy) ? copy.zone.kind : 'datacenter'
}

export interface Choice {
  /** Words that must all be found somewhere in what is shown of a copy. */
  readonly wanted: string
  readonly area: Area | undefined
}

export function chooseCopies(copies: readonly DataCopy[], { wanted, area }: Choice): readonly DataCopy[] {
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean)
  return copies.filter((copy) => {
    if (area !== undefined && areaOf(copy) !== area) return false
    const text = textOf(copy)
    return words.every((word) => text.includes(word))
  })
}

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

function imageOf({ image }: DataCopy): string {
  return image === undefined ? '' : `${image.name}:${image.version}`
}

function textOf(copy: DataCopy): string {
  const { workspace, person, machine, zone, mode, state, replica } = copy
  const names = [
    workspace.id,
    workspace.name,
    person.login,
    person.name,
    machine.name,
    zone.name,
    replica?.endpoint.name ?? '',
  ]
  const shown = [zoneKindNames[zone.kind], modeNames[mode], copyStateNames[state], imageOf(copy)]
  return [...names, ...shown, ...protectionSentences(copy, () => '')].join(' ').toLowerCase()
}
