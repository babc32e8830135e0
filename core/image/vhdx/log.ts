import type { ByteSource } from '#core/block/block-device.ts'
import { concatBytes } from '#core/bytes/index.ts'
import { ImageError } from '../errors.ts'
import { readStructure } from '../structure.ts'
import { mebibyte, zeroGuid } from './fields.ts'
import type { Header } from './header.ts'
import { decodeLogEntry, decodeLogEntryHeader, type LogEntryHeader, logSectorBytes } from './log-entry.ts'
import { type Patch, PatchList, patchedSource } from './patched-source.ts'

const mostLogBytes = 64 * mebibyte
const mostPatches = 32_768

interface LogEntry extends LogEntryHeader {
  readonly at: number
  readonly patches: readonly Patch[]
}

/**
 * The file as it is after its log was replayed, in memory: the file itself is not written to. A file without anything
 * to replay is returned as it is.
 *
 * Spec: [MS-VHDX] 2.3.2, 2.3.3
 *
 * @throws {ImageError} IMAGE_LOG_CORRUPT, IMAGE_TRUNCATED, IMAGE_TOO_LARGE, IMAGE_BAD_STRUCTURE
 */
export async function replayLog(
  source: ByteSource,
  { logGuid, logAt, logBytes }: Header,
  signal?: AbortSignal,
): Promise<ByteSource> {
  if (logGuid === zeroGuid) return source
  if (logBytes > mostLogBytes) {
    throw new ImageError(
      'IMAGE_TOO_LARGE',
      `expected a log of at most ${mostLogBytes} bytes, got ${logBytes}`,
    )
  }
  const log = await readStructure(source, 'log', logAt, logBytes, signal)
  const entries = activeSequence(new LogReader(log, logGuid))
  const head = entries.at(-1)
  if (head === undefined) {
    throw new ImageError('IMAGE_LOG_CORRUPT', 'expected a whole sequence of entries in the log, found none')
  }
  if (head.flushedFileBytes > source.sizeBytes) {
    throw new ImageError(
      'IMAGE_TRUNCATED',
      `expected ${head.flushedFileBytes} bytes, as the log says, but the file has ${source.sizeBytes}`,
      { remedy: 'Copy the file again: it is cut off.' },
    )
  }
  const patches = patchesOf(entries)
  return patchedSource(source, patches, longest(source.sizeBytes, head.lastFileBytes, BigInt(patches.end)))
}

function longest(...sizes: readonly bigint[]): bigint {
  return sizes.reduce((longest, size) => (size > longest ? size : longest))
}

function patchesOf(entries: readonly LogEntry[]): PatchList {
  const count = entries.reduce((sum, { patches }) => sum + patches.length, 0)
  if (count > mostPatches) {
    throw new ImageError('IMAGE_TOO_LARGE', `expected a log of at most ${mostPatches} writes, got ${count}`)
  }
  const list = new PatchList()
  for (const { patches } of entries) {
    for (const patch of patches) if (patch.end > patch.start) list.add(patch)
  }
  return list
}

/**
 * The entries to be replayed, in order. A sequence is entries that follow each other in place and number; it is valid
 * if it holds the tail that its last entry (its head) names. Of the valid ones the one with the newest head is active.
 */
function activeSequence(log: LogReader): LogEntry[] {
  let active: LogEntry[] = []
  for (let start = 0; start < log.length; ) {
    const sequence = sequenceAt(log, start)
    const head = sequence.at(-1)
    if (head === undefined) {
      start += logSectorBytes
      continue
    }
    const tail = sequence.findIndex(({ at }) => at === head.tail)
    if (tail >= 0 && head.sequence > (active.at(-1)?.sequence ?? 0n)) active = sequence.slice(tail)
    start += sequence.reduce((sum, { entryBytes }) => sum + entryBytes, 0)
  }
  return active
}

function sequenceAt(log: LogReader, start: number): LogEntry[] {
  const sequence: LogEntry[] = []
  let length = 0
  while (length < log.length) {
    const entry = log.entry((start + length) % log.length)
    const last = sequence.at(-1)
    if (entry === undefined || (last !== undefined && entry.sequence !== last.sequence + 1n)) break
    length += entry.entryBytes
    if (length > log.length) break
    sequence.push(entry)
  }
  return sequence
}

/** Reads entries from the log, a ring, each once. */
class LogReader {
  readonly #log: Uint8Array
  readonly #logGuid: string
  readonly #entries = new Map<number, LogEntry | undefined>()
  #checkedBytes = 0

  constructor(log: Uint8Array, logGuid: string) {
    this.#log = log
    this.#logGuid = logGuid
  }

  get length(): number {
    return this.#log.length
  }

  entry(at: number): LogEntry | undefined {
    if (!this.#entries.has(at)) this.#entries.set(at, this.#read(at))
    return this.#entries.get(at)
  }

  #read(at: number): LogEntry | undefined {
    const header = decodeLogEntryHeader(this.#log.subarray(at), this.#logGuid, this.length)
    if (header === undefined) return undefined
    // True entries, new and old, lie side by side. Made ones could claim the whole log at every sector of it.
    this.#checkedBytes += header.entryBytes
    if (this.#checkedBytes > 4 * this.length) {
      throw new ImageError(
        'IMAGE_LOG_CORRUPT',
        'expected entries of the log beside each other, got them over each other',
      )
    }
    const end = at + header.entryBytes
    const bytes =
      end <= this.length
        ? this.#log.subarray(at, end)
        : concatBytes(this.#log.subarray(at), this.#log.subarray(0, end - this.length))
    const patches = decodeLogEntry(bytes, header)
    return patches === undefined ? undefined : { ...header, at, patches }
  }
}
