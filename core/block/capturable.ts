import { OverlayError } from './overlay-error.ts'
import { PieceSet } from './piece-set.ts'
import { type SlotRun, type SlotStore, slotBytes } from './slot-store.ts'

/** Blocks of one piece: 256 KiB of the disk. */
export const pieceBlocks = 64

/** How many pieces a disk has; the last one may have fewer blocks. */
export function pieceCount(blocks: number): number {
  return Math.ceil(blocks / pieceBlocks)
}

/** What a store of blocks holds of one piece. */
export interface PieceContent {
  /** Of its blocks from the first to the last. */
  readonly runs: readonly SlotRun[]
  /** Of those that are data, one after the other. */
  readonly data: Uint8Array
}

/**
 * What was written since the last time, as it was at one moment, while writing goes on. Until a piece has been read
 * whoever writes to it has what it held put aside first (copy before write).
 *
 * Concurrency: any number of `read` at once. Disposed of, whatever was not done counts as changed again.
 */
export interface Capture extends AsyncDisposable {
  /** Pieces that are still to be read. */
  readonly left: number
  /**
   * The next piece.
   *
   * @returns undefined when all were read
   * @throws {OverlayError} OVERLAY_CAPTURE_ABANDONED when there was no room to put pieces aside; OVERLAY_CORRUPT
   */
  read(): Promise<{ readonly piece: number; readonly content: PieceContent } | undefined>
  /** All of it is safe elsewhere. */
  done(): void
}

/** A store of blocks that knows what has changed, and can be captured. Owns the store. */
export interface CapturableSlots extends SlotStore {
  /** Pieces that have changed since they were last captured. */
  readonly changed: number
  /** Counts pieces as changed. */
  markChanged(first: number, count: number): void
  /**
   * Begins a capture of what has changed. At most one at a time; it must be disposed of before the store is.
   *
   * @param aside an empty store of as many blocks, which the capture owns. When it fails the capture is abandoned: those
   *   who write never fail by it
   */
  capture(aside: SlotStore): Capture
}

/** @param blocks how many the store has */
export function capturable(slots: SlotStore, blocks: number): CapturableSlots {
  return new Capturable(slots, blocks)
}

class Capturable implements CapturableSlots {
  readonly isKept: boolean
  readonly #slots: SlotStore
  readonly #blocks: number
  #changed: PieceSet
  #capture: CopyBeforeWrite | undefined
  #captures = 0

  constructor(slots: SlotStore, blocks: number) {
    this.isKept = slots.isKept
    this.#slots = slots
    this.#blocks = blocks
    this.#changed = new PieceSet(pieceCount(blocks))
  }

  get changed(): number {
    return this.#changed.size
  }

  markChanged(first: number, count: number): void {
    this.#changed.add(first, count)
  }

  run(block: number, most: number): SlotRun {
    return this.#slots.run(block, most)
  }

  read(block: number, count: number): Promise<Uint8Array> {
    return this.#slots.read(block, count)
  }

  write(block: number, bytes: Uint8Array): Promise<void> {
    return this.#change(block, bytes.length / slotBytes, () => this.#slots.write(block, bytes))
  }

  zero(block: number, count: number): Promise<void> {
    return this.#change(block, count, () => this.#slots.zero(block, count))
  }

  flush(): Promise<void> {
    return this.#slots.flush()
  }

  capture(aside: SlotStore): Capture {
    if (this.#capture !== undefined) throw new TypeError('one capture at a time')
    const captured = this.#changed
    this.#changed = new PieceSet(captured.pieces)
    this.#captures++
    this.#capture = new CopyBeforeWrite(this.#slots, this.#blocks, aside, captured.clone(), (isDone) => {
      this.#capture = undefined
      if (!isDone) this.#changed.addAll(captured)
    })
    return this.#capture
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#slots[Symbol.asyncDispose]()
  }

  #change(block: number, count: number, work: () => Promise<void>): Promise<void> {
    const first = Math.floor(block / pieceBlocks)
    const pieces = Math.floor((block + count - 1) / pieceBlocks) - first + 1
    this.#changed.add(first, pieces)
    const begun = this.#captures
    const held = this.#capture?.hold(first, pieces)
    const change: Promise<void> = held === undefined ? work() : held.then(work)
    // One that was under way when a capture began is in that or not: it counts for the next one, too.
    const again = (): void => {
      if (this.#captures !== begun) this.#changed.add(first, pieces)
    }
    change.then(again, again)
    return change
  }
}

class CopyBeforeWrite implements Capture {
  readonly #slots: SlotStore
  readonly #blocks: number
  readonly #aside: SlotStore
  /** Neither read nor put aside. */
  readonly #waiting: PieceSet
  /** Put aside and not read yet. */
  readonly #copied: PieceSet
  /** Being read or put aside: none of them rejects. */
  readonly #busy = new Map<number, Promise<unknown>>()
  readonly #onEnd: (isDone: boolean) => void
  #failure: OverlayError | undefined
  #isDone = false
  #isOver = false
  #next = 0

  constructor(
    slots: SlotStore,
    blocks: number,
    aside: SlotStore,
    captured: PieceSet,
    onEnd: (isDone: boolean) => void,
  ) {
    this.#slots = slots
    this.#blocks = blocks
    this.#aside = aside
    this.#waiting = captured
    this.#copied = new PieceSet(captured.pieces)
    this.#onEnd = onEnd
  }

  get left(): number {
    return this.#waiting.size + this.#copied.size
  }

  async read(): Promise<{ readonly piece: number; readonly content: PieceContent } | undefined> {
    for (;;) {
      if (this.#failure) throw this.#failure
      // First those whose room is needed again.
      const copied = this.#copied.size > 0 ? this.#copied.next(0) : undefined
      const piece = copied ?? this.#waiting.next(this.#next)
      if (piece === undefined && this.#busy.size === 0) return undefined
      // What is being put aside now is there in a moment.
      if (piece === undefined) await Promise.race(this.#busy.values())
      else return { piece, content: await this.#take(piece) }
    }
  }

  /**
   * To be waited for before pieces are written to.
   *
   * @returns undefined when nothing need be waited for; never rejects
   */
  hold(first: number, count: number): Promise<unknown> | undefined {
    if (this.#isOver) return undefined
    const end = first + count
    const busy = count === 1 ? this.#busy.get(first) : undefined
    const waiting = this.#waiting.next(first)
    const isFree = waiting === undefined || waiting >= end
    if (isFree && count === 1) return busy
    if (isFree && this.#busy.size === 0) return undefined
    return this.#putAside(first, end)
  }

  done(): void {
    this.#isDone = true
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOver) return
    this.#isOver = true
    this.#waiting.delete(0, this.#waiting.pieces)
    await Promise.all(this.#busy.values())
    this.#onEnd(this.#isDone && this.#failure === undefined)
    await this.#aside[Symbol.asyncDispose]()
  }

  async #take(piece: number): Promise<PieceContent> {
    const [from, count] = [piece * pieceBlocks, this.#blocksOf(piece)]
    if (this.#copied.has(piece)) {
      this.#copied.delete(piece)
      const content = await readPiece(this.#aside, from, count)
      await this.#aside.zero(from, count)
      return content
    }
    this.#waiting.delete(piece)
    this.#next = piece + 1
    const reading = readPiece(this.#slots, from, count)
    await this.#whileBusy(piece, reading)
    return reading
  }

  async #putAside(first: number, end: number): Promise<void> {
    for (let piece = first; piece < end; piece++) {
      const busy = this.#busy.get(piece)
      if (busy !== undefined) await busy
      else if (this.#waiting.has(piece)) await this.#whileBusy(piece, this.#copy(piece))
      else if (this.#busy.size === 0) {
        const next = this.#waiting.next(piece)
        if (next === undefined || next >= end) return
        piece = next - 1
      }
    }
  }

  async #copy(piece: number): Promise<void> {
    this.#waiting.delete(piece)
    const from = piece * pieceBlocks
    try {
      const { runs, data } = await readPiece(this.#slots, from, this.#blocksOf(piece))
      await writePiece(this.#aside, from, { runs, data })
      this.#copied.add(piece)
    } catch (cause) {
      this.#failure ??= new OverlayError(
        'OVERLAY_CAPTURE_ABANDONED',
        'what was to be captured could not be put aside',
        { cause },
      )
      this.#waiting.delete(0, this.#waiting.pieces)
    }
  }

  async #whileBusy(piece: number, work: Promise<unknown>): Promise<void> {
    const settled = Promise.allSettled([work])
    this.#busy.set(piece, settled)
    await settled
    this.#busy.delete(piece)
  }

  #blocksOf(piece: number): number {
    return Math.min(pieceBlocks, this.#blocks - piece * pieceBlocks)
  }
}

/** Everything is begun in one go: a block is data for sure only as long as nothing is awaited. */
async function readPiece(slots: SlotStore, first: number, count: number): Promise<PieceContent> {
  const runs: SlotRun[] = []
  const parts: Promise<Uint8Array>[] = []
  for (let at = 0; at < count; ) {
    const run = slots.run(first + at, count - at)
    runs.push(run)
    if (run.kind === 'data') parts.push(slots.read(first + at, run.count))
    at += run.count
  }
  const [only] = parts
  if (only !== undefined && parts.length === 1) return { runs, data: await only }
  const all = await Promise.all(parts)
  const data = new Uint8Array(all.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of all) {
    data.set(part, at)
    at += part.length
  }
  return { runs, data }
}

/** Keeps a piece in a store; what is absent there is left as it is. */
export async function writePiece(
  slots: SlotStore,
  first: number,
  { runs, data }: PieceContent,
): Promise<void> {
  let [block, at] = [first, 0]
  for (const { kind, count } of runs) {
    if (kind === 'zero') await slots.zero(block, count)
    if (kind === 'data') {
      await slots.write(block, data.subarray(at, at + count * slotBytes))
      at += count * slotBytes
    }
    block += count
  }
}
