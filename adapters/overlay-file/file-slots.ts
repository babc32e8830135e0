import { overlayFull } from '#core/block/overlay-error.ts'
import type { SlotMap } from '#core/block/slot-map.ts'
import { type SlotRun, type SlotStore, slotBytes } from '#core/block/slot-store.ts'
import type { Journal } from './journal.ts'
import { batchEntries, EntryLog } from './journal-format.ts'
import { notDurable, OverlayFileError, requireDurable } from './overlay-file-error.ts'
import { isFull, type OverlayFile } from './overlay-folder.ts'
import { type SlotCipher, sealedBytes } from './slot-cipher.ts'
import { blockCorrupt, type Placed, readSlots, writeSlots } from './slot-file.ts'
import type { SlotRange, SlotSpace } from './slot-space.ts'

/** Blocks that are sealed and written at once: 1 MiB. */
const batchBlocks = 256
/** While one batch is written the next one is sealed. */
const batchesAtOnce = 2

export interface FileSlotsParts {
  readonly map: SlotMap
  readonly space: SlotSpace
  readonly data: OverlayFile
  readonly cipher: SlotCipher
  /** Absent: nothing outlives the process. */
  readonly journal?: Journal
  /** Called once when all is closed. */
  readonly onClose?: () => Promise<void>
}

/** A part of a write, at most as long as a batch. */
interface Piece {
  readonly block: number
  readonly bytes: Uint8Array
  readonly settle: (error?: unknown) => void
}

/**
 * Blocks of 4 KiB, each sealed, in a file.
 *
 * A write goes to slots that are free, never over a block, and is in the file, though not durable, before it is
 * answered: what was answered has its room. Writes that come together leave in one call.
 *
 * INVARIANT: a slot that the last durable batch of the journal refers to is not written to.
 */
export class FileSlots implements SlotStore {
  readonly isKept: boolean
  readonly #parts: FileSlotsParts
  readonly #queue: Piece[] = []
  readonly #buffers: Uint8Array[] = []
  readonly #scratch = new Uint8Array(sealedBytes)
  #batches = 0
  /** Changes that are in no batch yet, and the slots that they leave. */
  #changes = new EntryLog()
  #left: number[] = []
  #committing: Promise<void> = Promise.resolve()
  #queuedCommit: Promise<void> | undefined
  #failure: OverlayFileError | undefined
  #idle: (() => void) | undefined
  #closed: Promise<void> | undefined

  constructor(parts: FileSlotsParts) {
    this.isKept = parts.journal !== undefined
    this.#parts = parts
  }

  run(block: number, most: number): SlotRun {
    return this.#parts.map.run(block, most)
  }

  async read(block: number, count: number): Promise<Uint8Array> {
    const { data, cipher } = this.#parts
    const now = count === 1 ? this.#readNow(block) : undefined
    if (now !== undefined) return now
    const bytes = new Uint8Array(count * slotBytes)
    let places = this.#places(Array.from({ length: count }, (_, index) => ({ index, block: block + index })))
    for (;;) {
      const failed = await readSlots(data, cipher, places, bytes)
      if (failed.length === 0) return bytes
      // A block that has moved meanwhile may have left its slot to another one.
      const damaged = failed.find(({ block, slot, mark }) => this.#isAt(block, slot, mark))
      if (damaged) throw blockCorrupt(damaged.block)
      for (const { index } of failed) bytes.fill(0, index * slotBytes, (index + 1) * slotBytes)
      places = this.#places(failed)
    }
  }

  async write(block: number, bytes: Uint8Array): Promise<void> {
    if (this.#failure) throw this.#failure
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const step = batchBlocks * slotBytes
    let left = Math.ceil(bytes.length / step)
    let failure: { readonly error: unknown } | undefined
    const settle = (error?: unknown): void => {
      if (error !== undefined) failure ??= { error }
      if (--left > 0) return
      if (failure) reject(failure.error)
      else resolve()
    }
    for (let at = 0; at < bytes.length; at += step) {
      this.#queue.push({ block: block + at / slotBytes, bytes: bytes.subarray(at, at + step), settle })
    }
    // Those who write now, before anything is awaited, join the same batch.
    queueMicrotask(() => this.#pump())
    await promise
  }

  async zero(block: number, count: number): Promise<void> {
    if (this.#failure) throw this.#failure
    const { map, journal } = this.#parts
    await journal?.reserve(1)
    map.setZero(block, count, (slot) => this.#leave(slot))
    if (journal) this.#changes.zero(block, count)
    this.#checkpoint()
  }

  /** Those who ask while one is waiting to begin share it. */
  async flush(): Promise<void> {
    if (this.#parts.journal === undefined) return
    this.#queuedCommit ??= this.#committing.then(() => {
      this.#queuedCommit = undefined
      const commit = this.#commit()
      this.#committing = commit.catch(() => {})
      return commit
    })
    await this.#queuedCommit
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close()
    await this.#closed
  }

  async #close(): Promise<void> {
    const { data, journal, onClose } = this.#parts
    if (this.#batches > 0 || this.#queue.length > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve
      })
    }
    try {
      await this.flush()
    } finally {
      await journal?.close()
      await data.close()
      await onClose?.()
    }
  }

  /** One block, when that costs no wait. Whatever is not as it should be is looked at by who waits. */
  #readNow(block: number): Uint8Array | undefined {
    const { map, data, cipher } = this.#parts
    const slot = map.slotOf(block)
    const length = slot === undefined ? undefined : data.readNow?.(this.#scratch, slot * sealedBytes)
    return length === sealedBytes ? cipher.open(block, map.markOf(block), this.#scratch) : undefined
  }

  #places(wanted: readonly { index: number; block: number }[]): Placed[] {
    const { map } = this.#parts
    return wanted.flatMap(({ index, block }) => {
      const slot = map.slotOf(block)
      return slot === undefined ? [] : [{ index, block, slot, mark: map.markOf(block) }]
    })
  }

  #isAt(block: number, slot: number, mark: bigint): boolean {
    return this.#parts.map.slotOf(block) === slot && this.#parts.map.markOf(block) === mark
  }

  #pump(): void {
    while (this.#queue.length > 0 && this.#batches < batchesAtOnce) {
      let blocks = 0
      let pieces = 0
      for (const { bytes } of this.#queue) {
        if (blocks + bytes.length / slotBytes > batchBlocks) break
        blocks += bytes.length / slotBytes
        pieces++
      }
      this.#batches++
      void this.#writeBatch(this.#queue.splice(0, pieces), blocks)
    }
    if (this.#batches === 0 && this.#queue.length === 0) this.#idle?.()
  }

  /** Never rejects. */
  async #writeBatch(batch: readonly Piece[], blocks: number): Promise<void> {
    const buffer = this.#buffers.pop() ?? new Uint8Array(batchBlocks * sealedBytes)
    let failure: unknown
    try {
      await this.#store(batch, blocks, buffer.subarray(0, blocks * sealedBytes))
    } catch (error) {
      failure = error
    }
    this.#buffers.push(buffer)
    this.#batches--
    for (const { settle } of batch) settle(failure)
    this.#pump()
    this.#checkpoint()
  }

  async #store(batch: readonly Piece[], blocks: number, sealed: Uint8Array): Promise<void> {
    const { journal } = this.#parts
    const marks: BigUint64Array[] = []
    let at = 0
    for (const { block, bytes } of batch) {
      marks.push(this.#parts.cipher.seal(block, bytes, sealed.subarray(at)))
      at += (bytes.length / slotBytes) * sealedBytes
    }
    await journal?.reserve(blocks)
    try {
      this.#take(batch, marks, await this.#placeSealed(sealed, blocks))
    } catch (error) {
      journal?.release(blocks)
      throw error
    }
  }

  /** @throws {OverlayError} OVERLAY_FULL */
  async #placeSealed(sealed: Uint8Array, blocks: number): Promise<readonly SlotRange[]> {
    const placed =
      (await this.#tryPlace(sealed, blocks, true)) ?? (await this.#tryPlace(sealed, blocks, false))
    if (placed) return placed
    // Slots that were left since the last batch are free after the next one.
    if (this.#left.length > 0) await this.flush()
    const late = await this.#tryPlace(sealed, blocks, false)
    if (!late) throw overlayFull('the file that keeps it cannot grow')
    return late
  }

  /** @returns undefined when there is no room */
  async #tryPlace(sealed: Uint8Array, blocks: number, whole: boolean): Promise<SlotRange[] | undefined> {
    const { data, space } = this.#parts
    const ranges = space.allocate(blocks, whole)
    if (ranges === undefined) return undefined
    try {
      await writeSlots(data, sealed, ranges)
      return ranges
    } catch (error) {
      for (const { slot, count } of ranges) for (let index = count; index-- > 0; ) space.release(slot + index)
      if (isFull(error)) return undefined
      throw error
    }
  }

  /** From here on the blocks are read from their new slots. */
  #take(batch: readonly Piece[], marks: readonly BigUint64Array[], ranges: readonly SlotRange[]): void {
    const { map, journal } = this.#parts
    const slots = slotsOf(ranges)
    for (const [piece, { block }] of batch.entries()) {
      for (const [index, mark] of (marks[piece] ?? []).entries()) {
        const { value: slot } = slots.next()
        if (slot === undefined) return
        const before = map.setSlot(block + index, slot, mark)
        if (before !== undefined) this.#leave(before)
        if (journal) this.#changes.data(block + index, slot, mark)
      }
    }
  }

  #leave(slot: number): void {
    if (this.#parts.journal) this.#left.push(slot)
    else this.#parts.space.release(slot)
  }

  /** Keeps what is not durable yet, and the room that it holds back, within bounds. */
  #checkpoint(): void {
    if (this.#changes.count < batchEntries || this.#queuedCommit) return
    // Whoever flushes next hears of it.
    this.flush().catch(() => {})
  }

  async #commit(): Promise<void> {
    const { journal, space } = this.#parts
    if (this.#failure) throw this.#failure
    const [changes, left] = [this.#changes, this.#left]
    if (!journal || changes.count === 0) return
    this.#changes = new EntryLog()
    this.#left = []
    try {
      if (!journal.isLong || !(await this.#rewrite(journal, changes))) {
        await this.#sync()
        await journal.append(changes)
      }
    } catch (error) {
      const later = this.#changes
      this.#changes = changes
      changes.append(later)
      this.#left = left.concat(this.#left)
      throw this.#fail(error)
    }
    for (const slot of left) space.release(slot)
  }

  /** @returns false when there was no room for it, which does no harm */
  async #rewrite(journal: Journal, changes: EntryLog): Promise<boolean> {
    try {
      await journal.rewrite(this.#state(), changes.count, () => this.#sync())
      return true
    } catch (error) {
      if (isFull(error)) return false
      throw error
    }
  }

  /**
   * Everything that is kept. Blocks may move while it is asked for: what is newer is in the next batch once more, and
   * what is older has its slot until then.
   */
  *#state(): Generator<EntryLog, void, undefined> {
    const { map } = this.#parts
    let log = new EntryLog()
    for (const { block, run } of map.entries()) {
      const slot = map.slotOf(block)
      if (slot === undefined) log.zero(block, run.count)
      else log.data(block, slot, map.markOf(block))
      if (log.count < batchEntries) continue
      yield log
      log = new EntryLog()
    }
    if (log.count > 0) yield log
  }

  #sync(): Promise<void> {
    return requireDurable(this.#parts.data.datasync())
  }

  /** Unless a write was refused for want of room, nothing more is promised. */
  #fail(error: unknown): unknown {
    if (isFull(error)) return overlayFull('the journal cannot grow', error)
    this.#failure ??= error instanceof OverlayFileError ? error : notDurable(error)
    return this.#failure
  }
}

function* slotsOf(ranges: readonly SlotRange[]): Generator<number, undefined, undefined> {
  for (const { slot, count } of ranges) for (let index = 0; index < count; index++) yield slot + index
}
