import { overlayFull } from '#core/block/overlay-error.ts'
import {
  batchEntries,
  decodeBatch,
  type EntryLog,
  encodeBatch,
  encodeHeader,
  entryBytes,
  type JournalHeader,
  longestBatchBytes,
  paddedBatchBytes,
  readEntries,
  unitBytes,
} from './journal-format.ts'
import { filesDamaged, requireDurable } from './overlay-file-error.ts'
import { isFull, type OverlayFile, type OverlayFolder } from './overlay-folder.ts'
import type { OverlayKeys } from './overlay-keys.ts'

export const journalName = 'journal'
const nextName = 'journal.next'
/** How much the file grows at once. */
const growthBytes = 1 << 16
/** Room for the borders of two batches beside their entries. */
const spareBytes = 2 * (paddedBatchBytes(0) + unitBytes)
/** A journal of fewer entries is not worth writing anew. */
const shortEntries = 65_536
const windowBytes = 4 * longestBatchBytes

/** What a journal is written with. */
export interface JournalOptions {
  readonly folder: OverlayFolder
  readonly base: string
  readonly keys: OverlayKeys
  readonly newGeneration: () => Uint8Array
  /** Fewer entries than this are not worth writing the journal anew. */
  readonly shortEntries?: number | undefined
}

/**
 * Remembers durably what has changed: a header, then batches of entries that are only ever added. Behind the last batch
 * are zeros, so that a batch needs no room that is not there already.
 *
 * INVARIANT: at most one batch is not durable yet. What is not whole can therefore only be the last one, and was never
 * promised; anything else that is not whole is damage.
 */
export class Journal {
  readonly #options: JournalOptions
  #header: JournalHeader
  #file: OverlayFile
  /** Where the next batch goes. */
  #end: number
  #sizeBytes: number
  #sequence: bigint
  /** Entries in the file, and how many there were when it was last written anew. */
  #entries = 0
  #compactEntries = 0
  /** Entries that have room reserved and are not in the file yet. */
  #owed = 0
  #exclusive: Promise<unknown> = Promise.resolve()
  #isRewriting = false

  private constructor(file: OverlayFile, header: JournalHeader, place: Place, options: JournalOptions) {
    this.#file = file
    this.#header = header
    this.#end = place.end
    this.#sizeBytes = place.end
    this.#sequence = place.sequence
    this.#options = options
  }

  /** Begins the journal of a new overlay. */
  static async create(header: JournalHeader, options: JournalOptions): Promise<Journal> {
    const { file, end } = await writeNext(header, [], options)
    await options.folder.replace(nextName, journalName)
    await options.folder.sync()
    const journal = new Journal(file, header, { end, sequence: 0n }, options)
    await journal.#grow()
    return journal
  }

  /**
   * Takes up a journal whose header has been read.
   *
   * @param visit told of all entries that are durable, in order
   * @throws {OverlayFileError} OVERLAY_FILES_DAMAGED; nothing has been changed then
   */
  static async open(
    file: OverlayFile,
    header: JournalHeader,
    options: JournalOptions,
    visit: Parameters<typeof readEntries>[1],
  ): Promise<Journal> {
    let entries = 0
    const place = await replay(file, header, options.keys, (batch) => {
      entries += batch.length / entryBytes
      readEntries(batch, visit)
    })
    const journal = new Journal(file, header, place, options)
    journal.#entries = entries
    journal.#sizeBytes = Math.max(place.end, await file.sizeBytes())
    await writeZeros(file, place.end, Math.min(journal.#sizeBytes - place.end, longestBatchBytes))
    // What a process that was killed had written may not be durable yet, and slots that it gave back are used again. The
    // last batch is written once more: the system may remember it and have failed to store it, which it says only once.
    await file.write(place.last.bytes, place.last.at)
    await file.datasync()
    return journal
  }

  /** True when it has grown so much that most of its entries must have been overtaken. */
  get isLong(): boolean {
    return this.#entries > 2 * this.#compactEntries + (this.#options.shortEntries ?? shortEntries)
  }

  /** Makes sure that so many more entries can be added. @throws {OverlayError} OVERLAY_FULL */
  async reserve(entries: number): Promise<void> {
    this.#owed += entries
    // While two journals have to have room, one waits to see which is in force.
    if (!this.#isRewriting && this.#hasRoom()) return
    try {
      await this.#alone(() => this.#grow())
    } catch (error) {
      this.#owed -= entries
      throw isFull(error) ? overlayFull('the journal cannot grow', error) : error
    }
  }

  /** Takes back a reservation. */
  release(entries: number): void {
    this.#owed -= entries
  }

  /** Adds entries whose room was reserved. Durable when it returns. */
  append(log: EntryLog): Promise<void> {
    return this.#alone(async () => {
      for (let done = 0; done < log.count; done += batchEntries) {
        const entries = log.bytes.subarray(done * entryBytes, (done + batchEntries) * entryBytes)
        const place = { generation: this.#header.generation, offset: this.#end, sequence: this.#sequence }
        const batch = encodeBatch(entries, place, this.#options.keys)
        await this.#file.write(batch, this.#end)
        await requireDurable(this.#file.datasync())
        this.#end += batch.length
        this.#sizeBytes = Math.max(this.#sizeBytes, this.#end)
        this.#sequence++
        this.#entries += entries.length / entryBytes
      }
      this.#owed -= log.count
    })
  }

  /**
   * Writes the journal anew, with what holds now and nothing else.
   *
   * @param state the entries of everything that is kept, as it is when they are asked for
   * @param covered how many reserved entries that makes needless
   * @param sync makes durable what the entries refer to; called when all of them have been taken
   * @throws {OverlayFileError} OVERLAY_NOT_DURABLE: after a loss of power either journal may be found; and what
   *   the folder throws: the old journal stays in force then
   */
  rewrite(state: Iterable<EntryLog>, covered: number, sync: () => Promise<void>): Promise<void> {
    return this.#alone(async () => {
      this.#isRewriting = true
      try {
        await this.#rewriteAlone(state, covered, sync)
      } finally {
        this.#isRewriting = false
      }
    })
  }

  async close(): Promise<void> {
    await this.#alone(async () => this.#file.close())
  }

  async #rewriteAlone(state: Iterable<EntryLog>, covered: number, sync: () => Promise<void>): Promise<void> {
    const { folder, newGeneration } = this.#options
    const header = { ...this.#header, generation: newGeneration() }
    const next = await writeNext(header, state, this.#options)
    let room = 0
    try {
      await sync()
      // Those who reserve from here on wait.
      room = (this.#owed - covered) * entryBytes + spareBytes + growthBytes
      await writeZeros(next.file, next.end, room)
      await next.file.datasync()
      await folder.replace(nextName, journalName)
    } catch (error) {
      await next.file.close()
      await folder.remove(nextName)
      throw error
    }
    await this.#file.close()
    this.#file = next.file
    this.#header = header
    this.#end = next.end
    this.#sizeBytes = next.end + room
    this.#sequence = next.batches
    this.#entries = next.entries
    this.#compactEntries = next.entries
    this.#owed -= covered
    await requireDurable(folder.sync())
  }

  #hasRoom(): boolean {
    return this.#sizeBytes - this.#end >= this.#owed * entryBytes + spareBytes
  }

  async #grow(): Promise<void> {
    while (!this.#hasRoom()) {
      await writeZeros(this.#file, this.#sizeBytes, growthBytes)
      this.#sizeBytes += growthBytes
    }
  }

  /** One at a time, in the order they came. */
  #alone<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#exclusive.then(work)
    this.#exclusive = result.then(
      () => undefined,
      () => undefined,
    )
    return result
  }
}

interface Place {
  readonly end: number
  readonly sequence: bigint
}

/** Empty when there is none. */
interface LastBatch {
  readonly bytes: Uint8Array
  readonly at: number
}

/** Writes a whole journal under another name. Not durable yet when it returns, unless it has no entries. */
async function writeNext(
  header: JournalHeader,
  state: Iterable<EntryLog>,
  { folder, base, keys }: JournalOptions,
): Promise<{ file: OverlayFile; end: number; batches: bigint; entries: number }> {
  const file = await folder.create(nextName)
  let [end, batches, entries] = [unitBytes, 0n, 0]
  try {
    await file.write(encodeHeader(header, base, keys), 0)
    for (const log of state) {
      const place = { generation: header.generation, offset: end, sequence: batches }
      const batch = encodeBatch(log.bytes, place, keys)
      await file.write(batch, end)
      end += batch.length
      batches++
      entries += log.count
    }
    await file.datasync()
    return { file, end, batches, entries }
  } catch (error) {
    await file.close()
    await folder.remove(nextName)
    throw error
  }
}

async function writeZeros(file: OverlayFile, position: number, length: number): Promise<void> {
  const zeros = new Uint8Array(growthBytes)
  for (let done = 0; done < length; done += zeros.length) {
    await file.write(zeros.subarray(0, length - done), position + done)
  }
}

/** @throws {OverlayFileError} OVERLAY_FILES_DAMAGED */
async function replay(
  file: OverlayFile,
  header: JournalHeader,
  keys: OverlayKeys,
  take: (entries: Uint8Array) => void,
): Promise<Place & { readonly last: LastBatch }> {
  const window = new Window(file)
  let [end, sequence] = [unitBytes, 0n]
  let last: LastBatch = { bytes: new Uint8Array(0), at: end }
  for (;;) {
    const bytes = await window.at(end, longestBatchBytes)
    const batch = decodeBatch(bytes, { generation: header.generation, offset: end }, keys)
    if (batch?.sequence !== sequence) break
    take(batch.entries)
    const length = paddedBatchBytes(batch.entries.length / entryBytes)
    last = { bytes: bytes.subarray(0, length), at: end }
    end += length
    sequence++
  }
  await requireTornTail(window, header, keys, { end, sequence })
  return { end, sequence, last }
}

/** What is behind the last batch may be zeros and a part of one more. A whole one shows that something is missing. */
async function requireTornTail(
  window: Window,
  header: JournalHeader,
  keys: OverlayKeys,
  { end, sequence }: Place,
): Promise<void> {
  const sizeBytes = await window.sizeBytes()
  for (let offset = end; offset < sizeBytes; offset += unitBytes) {
    const bytes = await window.at(offset, longestBatchBytes)
    if (offset - end >= longestBatchBytes) {
      if (bytes.subarray(0, unitBytes).every((byte) => byte === 0)) continue
      throw filesDamaged(`batch ${sequence} of the journal is damaged and more follows it`)
    }
    const later = decodeBatch(bytes, { generation: header.generation, offset }, keys)
    if (later) {
      throw filesDamaged(`expected batch ${sequence} of the journal, got batch ${later.sequence}`)
    }
  }
}

/** Reads a file forwards, a few megabytes at once. */
class Window {
  readonly #file: OverlayFile
  #start = 0
  #bytes = new Uint8Array(0)
  /** True when there is nothing behind it. */
  #isLast = false

  constructor(file: OverlayFile) {
    this.#file = file
  }

  sizeBytes(): Promise<number> {
    return this.#file.sizeBytes()
  }

  /** Bytes from a place on, at most `length`, fewer at the end of the file. */
  async at(position: number, length: number): Promise<Uint8Array> {
    if (!this.#isLast && position + length > this.#start + this.#bytes.length) {
      const fresh = new Uint8Array(windowBytes)
      this.#bytes = fresh.subarray(0, await this.#file.read(fresh, position))
      this.#start = position
      this.#isLast = this.#bytes.length < windowBytes
    }
    const from = position - this.#start
    return this.#bytes.subarray(from, from + length)
  }
}
