import type { DataCopy, DataQuery } from '#core/api/data.ts'
import { copyStateNames, modeNames, zoneKindNames } from './names.ts'
import { protectionSentences } from './protection.ts'
import { areaOf } from './summary.ts'

/** Which copies are shown. */

/** @returns whether a copy is in that area and has all words of the search somewhere in what is shown of it */
export function choosing({
  search = '',
  area,
}: Pick<DataQuery, 'search' | 'area'>): (copy: DataCopy) => boolean {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean)
  return (copy) => {
    if (area !== undefined && areaOf(copy) !== area) return false
    if (words.length === 0) return true
    const text = textOf(copy)
    return words.every((word) => text.includes(word))
  }
}

/** `NAME:VERSION`; empty where nothing is streamed. */
export function imageOf({ image }: DataCopy): string {
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
