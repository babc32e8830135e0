import type { DataCopy } from '#core/api/data.ts'
import { protectionSentences } from './protection.ts'

/**
 * Copies as comma-separated values (RFC 4180), with a line of headings. Times are UTC.
 *
 * What a program for tables would take for a formula is led by an apostrophe: names come from people.
 */
export function csvOf(copies: readonly DataCopy[]): string {
  const rows = copies.map((copy) => columns.map(([, cell]) => quote(cell(copy))))
  return [columns.map(([heading]) => heading), ...rows].map((row) => `${row.join(',')}\r\n`).join('')
}

const columns: readonly (readonly [heading: string, cell: (copy: DataCopy) => string])[] = [
  ['Place', ({ place }) => place],
  ['Machine', ({ machine }) => machine.name],
  ['Machine id', ({ machine }) => machine.id],
  ['Zone', ({ zone }) => zone.name],
  ['Zone kind', ({ zone }) => zone.kind],
  ['Why', ({ zone }) => zone.why ?? ''],
  ['Workspace', ({ workspace }) => workspace.id],
  ['Person', ({ person }) => person.name],
  ['Login', ({ person }) => person.login],
  ['Deleted', ({ workspace, person }) => deletedOf({ workspace, person })],
  ['Mode', ({ mode }) => mode],
  ['State', ({ state }) => state],
  ['Image', ({ image }) => (image === undefined ? '' : `${image.name}:${image.version}`)],
  ['Since', ({ since }) => since],
  ['Until', ({ until = '' }) => until],
  ['Bytes read locally', ({ stats }) => (stats === undefined ? '' : String(stats.bytesLocal))],
  ['Percent local', ({ stats }) => (stats === undefined ? '' : String(Math.round(stats.percentLocal)))],
  ['Bytes written', ({ stats }) => (stats === undefined ? '' : String(stats.bytesWritten))],
  ['Replica bytes', ({ replica }) => (replica === undefined ? '' : String(replica.sizeBytes))],
  ['Replica copied', ({ replica }) => replica?.copiedAt ?? ''],
  ['Replica of', ({ replica }) => replica?.endpoint.name ?? ''],
  ['Protection', (copy) => protectionSentences(copy, (instant) => instant).join(' ')],
  ['Taken back', ({ notice }) => (notice === undefined ? '' : `${notice.code}: ${notice.reason}`)],
  ['Session', ({ sessionId }) => sessionId],
  ['Lease', ({ leaseId = '' }) => leaseId],
]

/** Which of them an admin has deleted. */
function deletedOf(named: Pick<DataCopy, 'workspace' | 'person'>): string {
  return Object.entries(named)
    .flatMap(([what, { deleted }]) => (deleted === true ? [what] : []))
    .join(' ')
}

function quote(text: string): string {
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}
