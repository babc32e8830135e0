import { capabilitiesIn } from './capabilities.ts'
import { type Attributes, attributesOf } from './ext4-attributes.ts'
import { type Run, readRuns } from './ext4-data.ts'
import { dataOf, type FileEntry, type Files, isFolder } from './ext4-files.ts'

export interface FileChange {
  readonly path: string
  readonly change: 'added' | 'removed' | 'changed'
  /** What is another: its content, its permissions, its owner, its extended attributes. Empty unless it was changed. */
  readonly what: readonly ('content' | 'mode' | 'owner' | 'attributes')[]
  /** Type and permissions, as in stat(2); of a removed one as it was. */
  readonly mode: number
  readonly sizeBytes: number
  /** What it may do beyond its user's rights, such as `cap_net_raw`; of a removed one as it was. */
  readonly capabilities: readonly string[]
}

/** Byte ranges of a disk in which it surely is what it was. */
export type IsSame = (offset: number, length: number) => boolean

const pieceBytes = 1 << 20

/**
 * What became of the files of a file system from one version of a disk to the next: content is compared by its bytes, and read only where
 * it is not known to be the same. Times are not compared: they say nothing that a signer could trust.
 *
 * @param isSame asked with byte ranges of the file system
 * @returns in the order of paths
 * @throws {FileSystemError}; what the sources throw
 */
export async function compareFiles(
  older: Files,
  newer: Files,
  isSame: IsSame,
  signal?: AbortSignal,
): Promise<readonly FileChange[]> {
  const changes: FileChange[] = []
  for (const entry of newer.entries.values()) {
    const before = older.entries.get(entry.path)
    const attributes = await attributesOf(newer.volume, entry.inode, signal)
    if (before === undefined) {
      changes.push(changeOf(entry, 'added', attributes))
      continue
    }
    const attributesBefore = await attributesOf(older.volume, before.inode, signal)
    const what = [
      ...((await hasSameContent(older, before, newer, entry, isSame, signal)) ? [] : (['content'] as const)),
      ...(before.mode === entry.mode ? [] : (['mode'] as const)),
      ...(before.uid === entry.uid && before.gid === entry.gid ? [] : (['owner'] as const)),
      ...(areSameAttributes(attributesBefore, attributes) ? [] : (['attributes'] as const)),
    ]
    if (what.length > 0) changes.push({ ...changeOf(entry, 'changed', attributes), what })
  }
  for (const entry of older.entries.values())
    if (!newer.entries.has(entry.path))
      changes.push(changeOf(entry, 'removed', await attributesOf(older.volume, entry.inode, signal)))
  return changes.toSorted((a, b) => (a.path < b.path ? -1 : 1))
}

function changeOf(
  { path, mode, sizeBytes }: FileEntry,
  change: FileChange['change'],
  attributes: Attributes,
): FileChange {
  const capabilities = capabilitiesIn(attributes)
  return { path, change, what: [], mode, sizeBytes: isFolder({ mode }) ? 0 : sizeBytes, capabilities }
}

function areSameAttributes(a: Attributes, b: Attributes): boolean {
  return (
    a.size === b.size &&
    [...a].every(([name, value]) => {
      const other = b.get(name)
      return other !== undefined && Buffer.compare(value, other) === 0
    })
  )
}

async function hasSameContent(
  older: Files,
  before: FileEntry,
  newer: Files,
  entry: FileEntry,
  isSame: IsSame,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  // What a folder has in it is seen by its files.
  if (isFolder(entry) && isFolder(before)) return true
  if (before.sizeBytes !== entry.sizeBytes) return false
  const old = await dataOf(older.volume, before, signal)
  const data = await dataOf(newer.volume, entry, signal)
  if ('inline' in old || 'inline' in data)
    return 'inline' in old && 'inline' in data && Buffer.compare(old.inline, data.inline) === 0
  const { blockBytes } = newer.volume
  const isUntouched =
    blockBytes === older.volume.blockBytes &&
    haveSamePlaces(old.runs, data.runs) &&
    data.runs.every(({ at, count }) => isSame(at * blockBytes, count * blockBytes))
  return isUntouched || haveSameBytes(older, old.runs, newer, data.runs, entry.sizeBytes, signal)
}

function haveSamePlaces(a: readonly Run[], b: readonly Run[]): boolean {
  return (
    a.length === b.length &&
    a.every((run, index) => {
      const other = b[index]
      return (
        other !== undefined && run.at === other.at && run.from === other.from && run.count === other.count
      )
    })
  )
}

async function haveSameBytes(
  older: Files,
  oldRuns: readonly Run[],
  newer: Files,
  runs: readonly Run[],
  sizeBytes: number,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const piece = async (
    { volume }: Files,
    of: readonly Run[],
    offset: number,
    length: number,
  ): Promise<Uint8Array> => {
    const count = Math.ceil(length / volume.blockBytes)
    return (await readRuns(volume, of, offset / volume.blockBytes, count, signal)).subarray(0, length)
  }
  const blockBytes = Math.max(older.volume.blockBytes, newer.volume.blockBytes)
  const spans = [...spansOf(older, oldRuns, blockBytes), ...spansOf(newer, runs, blockBytes)]
  for (const { start, end } of joined(spans)) {
    for (let offset = start; offset < Math.min(end, sizeBytes); offset += pieceBytes) {
      const length = Math.min(pieceBytes, end - offset, sizeBytes - offset)
      const [a, b] = await Promise.all([
        piece(older, oldRuns, offset, length),
        piece(newer, runs, offset, length),
      ])
      if (Buffer.compare(a, b) !== 0) return false
    }
  }
  return true
}

/** A part of a file, bytes. */
interface Span {
  readonly start: number
  readonly end: number
}

/** Where a file has something, in whole blocks of this size. What neither version has is zeros in both, and may be petabytes. */
function spansOf({ volume }: Files, runs: readonly Run[], blockBytes: number): readonly Span[] {
  const factor = volume.blockBytes / blockBytes
  return runs.map(({ from, count }) => ({
    start: Math.floor(from * factor) * blockBytes,
    end: Math.ceil((from + count) * factor) * blockBytes,
  }))
}

/** In order, and without overlap. */
function joined(spans: readonly Span[]): readonly Span[] {
  const all: Span[] = []
  for (const span of spans.toSorted((a, b) => a.start - b.start)) {
    const last = all.at(-1)
    if (last === undefined || span.start > last.end) all.push(span)
    else all[all.length - 1] = { start: last.start, end: Math.max(last.end, span.end) }
  }
  return all
}
