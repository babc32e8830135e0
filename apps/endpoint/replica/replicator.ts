import { hash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type CapturableSlots, type Capture, type PieceContent, pieceBlocks } from '#core/block/capturable.ts'
import { settled } from '#core/block/settled.ts'
import { type SlotStore, slotBytes } from '#core/block/slot-store.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import {
  copyOfTable,
  encodeManifest,
  encodePiece,
  isWhole,
  type KnownReplica,
  type PieceTable,
  pieceName,
  ReplicaError,
  type ReplicaKeys,
  type ReplicaState,
  sealPiece,
  setPiece,
} from '#core/replica/index.ts'
import type { ReplicaStats } from '../disk/disk-stats.ts'
import { type ReplicaClient, requestsAtOnce } from './replica-client.ts'
import type { OverlayToOpen, ReplicaThere } from './take-replica.ts'

export interface ReplicatorOptions {
  readonly client: ReplicaClient
  readonly keys: ReplicaKeys
  readonly overlay: OverlayToOpen
  readonly slots: CapturableSlots
  /** A store for what those who write put aside during one capture. */
  readonly aside: () => Promise<SlotStore>
  /** What the data centre has; undefined while it could not be asked. */
  readonly there: ReplicaThere | undefined
  /** The latest state that this endpoint sent or took. */
  readonly known: ReplicaState
  /** Asks what the data centre has. @throws {ReplicaError} REPLICA_CONFLICT when another device went on */
  readonly meet: (signal: AbortSignal) => Promise<ReplicaThere>
  /** Whether the site still says that what is written is to be sent. */
  readonly isWanted: () => boolean
  readonly intervalMs: number
  /** To the site; absent: as fast as it goes. */
  readonly bytesPerSecond: number | undefined
  readonly now: () => number
  /** Keeps which state is about to be sent: called, and waited for, before each. */
  readonly onSending: (state: ReplicaState) => Promise<void>
  readonly onSent: (state: ReplicaState) => Promise<void>
  readonly warn: (error: unknown) => void
}

const pieceBytes = pieceBlocks * slotBytes
/** What was sent and not committed is sent again after this: the site may have collected it. */
const uncommittedMs = 20 * 60_000
/** Others are to be heard, too, while many pieces need not be sent. */
const breatheEvery = 64
const uncertain: ReadonlySet<string> = new Set(['REPLICA_UNREACHABLE', 'REPLICA_CONFLICT'])

/**
 * Sends what is written on a disk to the data centre, behind it: captures what has changed, sends the pieces that the
 * data centre has not, and then commits the list of all of them, once for each interval in which something was written.
 *
 * Whoever writes never fails by it, and never waits for the site. While that is away it is tried again.
 */
export class Replicator {
  readonly #options: ReplicatorOptions
  readonly #stop = new AbortController()
  /** Pieces that were sent and are in no state yet. */
  readonly #sent = new Map<string, number>()
  readonly #running: Promise<void>
  #there: ReplicaThere | undefined
  #copiedAt: number | undefined
  #known: ReplicaState
  /** Pieces that are being sent. */
  #captured = 0
  #round: Promise<void> = Promise.resolve()
  #stopped: ReplicaError | undefined
  #lastFailure: string | undefined
  #dueAt = 0

  constructor(options: ReplicatorOptions) {
    this.#options = options
    this.#there = options.there
    this.#copiedAt = options.there?.writtenAt
    this.#known = options.known
    this.#running = this.#run()
  }

  get status(): ReplicaStats {
    const writtenAt = this.#copiedAt
    return {
      ...(writtenAt !== undefined && { copiedAt: new Date(writtenAt).toISOString() }),
      waitingBytes: (this.#options.slots.changed + this.#captured) * pieceBytes,
      ...(this.#stopped && { stopped: this.#stopped.message }),
    }
  }

  /** The latest state that this endpoint sent or took; unchanged when nothing was written since. */
  get known(): KnownReplica {
    const { slots } = this.#options
    const isThere = this.#there?.digest === this.#known.digest
    return { ...this.#known, isUnchanged: isThere && slots.changed === 0 && this.#captured === 0 }
  }

  /** Sends what is still waiting, as far as that takes no longer than this. Never fails: it is sent the next time. */
  async finish(limitMs: number): Promise<void> {
    const limit = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(limitMs)])
    const over = new Promise<void>((resolve) =>
      limit.addEventListener('abort', () => resolve(), { once: true }),
    )
    const all = async (): Promise<void> => {
      await this.#round
      await this.#tryRound(limit)
    }
    await Promise.race([all(), over])
  }

  /** Nothing more is sent when this resolves. */
  async stop(): Promise<void> {
    this.#stop.abort(new ReplicaError('REPLICA_KEY_GONE', 'the disk was closed'))
    await this.#running
    await this.#round
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      await sleep(this.#options.intervalMs, undefined, { signal, ref: false }).catch(() => {})
      if (!signal.aborted) await this.#tryRound(signal)
    }
  }

  /** One after the other. Never rejects. */
  #tryRound(signal: AbortSignal): Promise<void> {
    this.#round = this.#afterRound(this.#round, signal)
    return this.#round
  }

  async #afterRound(last: Promise<void>, signal: AbortSignal): Promise<void> {
    await last
    const { slots, isWanted, warn } = this.#options
    if (signal.aborted || this.#stopped !== undefined || slots.changed === 0 || !isWanted()) return
    try {
      await this.#send(signal)
      this.#lastFailure = undefined
    } catch (error) {
      this.#note(error, signal, warn)
    }
  }

  #note(error: unknown, signal: AbortSignal, warn: (error: unknown) => void): void {
    // What may not be sent any more is refused.
    if (signal.aborted || !this.#options.isWanted()) return
    const code = isCoded(error) ? error.code : String(error)
    if (code === 'REPLICA_INCOMPLETE') this.#sent.clear()
    // What fails again and again is said once.
    if (code !== this.#lastFailure) warn(error)
    this.#lastFailure = code
  }

  async #send(signal: AbortSignal): Promise<void> {
    const { slots, aside } = this.#options
    this.#there ??= await this.#meet(signal)
    const writtenAt = this.#options.now()
    this.#captured = slots.changed
    try {
      await using capture = slots.capture(await aside())
      const table = await this.#sendCaptured(capture, this.#there.table, signal)
      await this.#commit(this.#there, { table, writtenAt }, signal)
      capture.done()
    } finally {
      this.#captured = 0
    }
  }

  async #meet(signal: AbortSignal): Promise<ReplicaThere> {
    try {
      const there = await this.#options.meet(signal)
      // One that was sent, and of which it was not heard that it arrived.
      if (there.sequence > this.#known.sequence)
        this.#known = { sequence: there.sequence, digest: there.digest }
      return there
    } catch (error) {
      if (error instanceof ReplicaError && error.code === 'REPLICA_CONFLICT') this.#stopped = error
      throw error
    }
  }

  /** @returns what the data centre has then */
  async #sendCaptured(capture: Capture, before: PieceTable, signal: AbortSignal): Promise<PieceTable> {
    const failed = new AbortController()
    const stop = AbortSignal.any([signal, failed.signal])
    const table = copyOfTable(before)
    const workers = Array.from({ length: requestsAtOnce }, () => this.#sendPieces(capture, table, stop))
    for (const worker of workers) worker.catch((error: unknown) => failed.abort(error))
    await settled(workers)
    return table
  }

  async #commit(
    there: ReplicaThere,
    next: Pick<ReplicaThere, 'table' | 'writtenAt'> & { readonly writtenAt: number },
    signal: AbortSignal,
  ): Promise<void> {
    const { client, keys, overlay, onSending, onSent } = this.#options
    const { base, blocks } = overlay
    const { table, writtenAt } = next
    const sequence = Math.max(this.#known.sequence, there.sequence) + 1
    const manifest = encodeManifest(keys, { base, blocks, sequence, writtenAt, ...table })
    const state = { sequence, digest: hash('sha256', manifest) }
    await onSending(state)
    // Should no answer come, or another state be there, the site is asked what it has.
    this.#there = undefined
    await client.putManifest(manifest, there.sequence, signal).catch((error: unknown) => {
      if (isCoded(error) && !uncertain.has(error.code)) this.#there = there
      throw error
    })
    this.#there = { ...state, table, writtenAt }
    this.#copiedAt = writtenAt
    this.#known = state
    this.#sent.clear()
    await onSent(state)
  }

  async #sendPieces(capture: Capture, table: PieceTable, signal: AbortSignal): Promise<void> {
    let count = 0
    for (let next = await capture.read(); next !== undefined; next = await capture.read()) {
      signal.throwIfAborted()
      const { piece, content } = next
      await this.#sendPiece(piece, content, table, signal)
      if (++count % breatheEvery === 0) await sleep(0)
    }
  }

  async #sendPiece(
    piece: number,
    content: PieceContent,
    table: PieceTable,
    signal: AbortSignal,
  ): Promise<void> {
    if (isWhole(content, 'absent')) return setPiece(table, piece, 'absent')
    if (isWhole(content, 'zero')) return setPiece(table, piece, 'zero')
    const { keys, client, overlay } = this.#options
    const plain = encodePiece(content)
    const name = pieceName(keys, piece, plain)
    if (table.names.get(piece) !== name && !this.#isSent(name)) {
      const nonce = new Uint8Array(12)
      overlay.random(nonce)
      const sealed = await sealPiece(keys, piece, plain, nonce)
      await this.#pace(sealed.length, signal)
      await client.putPiece(name, sealed, signal)
      this.#sent.set(name, performance.now())
    }
    setPiece(table, piece, { name })
  }

  #isSent(name: string): boolean {
    const at = this.#sent.get(name)
    return at !== undefined && performance.now() - at < uncommittedMs
  }

  async #pace(bytes: number, signal: AbortSignal): Promise<void> {
    const { bytesPerSecond } = this.#options
    if (bytesPerSecond === undefined) return
    const now = performance.now()
    const begin = Math.max(now, this.#dueAt)
    this.#dueAt = begin + (bytes / bytesPerSecond) * 1000
    await sleep(begin - now, undefined, { signal })
  }
}
