import { hash } from 'node:crypto'
import { openKeptSlots } from '#adapters/overlay-file/index.ts'
import { pieceBlocks, pieceCount, writePiece } from '#core/block/capturable.ts'
import { settled } from '#core/block/settled.ts'
import { type SlotStore, slotBytes } from '#core/block/slot-store.ts'
import {
  emptyTable,
  type KnownReplica,
  noReplica,
  openManifest,
  openPiece,
  type PieceTable,
  ReplicaError,
  type ReplicaKeys,
  type ReplicaState,
  startOf,
} from '#core/replica/index.ts'
import { type OverlayPlace, SnapshotError, takeSnapshot } from '../vm/snapshots.ts'
import type { ReplicaClient } from './replica-client.ts'
import {
  draftPath,
  isOverlayThere,
  putDraftInPlace,
  type Remembered,
  readRemembered,
  recoverReplica,
  remember,
  statePath,
} from './replica-place.ts'

/** An overlay as it is opened. */
export interface OverlayToOpen {
  readonly blocks: number
  /** 32 bytes. */
  readonly key: Uint8Array
  /** `name:version merkleRoot` */
  readonly base: string
  readonly random: (bytes: Uint8Array) => void
}

export interface TakeOptions {
  readonly client: ReplicaClient
  readonly keys: ReplicaKeys
  readonly overlay: OverlayToOpen
  readonly place: OverlayPlace
  /** Tells the person what they wait for. */
  readonly say: (sentence: string) => void
  readonly warn: (error: unknown) => void
  readonly signal: AbortSignal
}

/** What an endpoint knows of a replica when its disk is opened. */
export interface ReplicaAtStart {
  readonly known: KnownReplica
  /** What the data centre has; undefined when it could not be asked. */
  readonly there: ReplicaThere | undefined
  /** The overlay is another one than before. */
  readonly isTaken: boolean
}

/** What the data centre has of an overlay. */
export interface ReplicaThere extends ReplicaState {
  readonly table: PieceTable
  /** Unix time, ms. */
  readonly writtenAt: number | undefined
}

const piecesAtOnce = 8

/**
 * Makes the overlay on this endpoint what it shall be when its disk is opened: what is here, or what the data centre has.
 * Whatever fails, what is here stays as it is.
 *
 * @throws {ReplicaError} REPLICA_CORRUPT, REPLICA_MALFORMED, REPLICA_OTHER_BASE, REPLICA_INCOMPLETE; with nothing here
 *   also REPLICA_UNREACHABLE, REPLICA_REFUSED, REPLICA_ROLLED_BACK
 * @throws {OverlayFileError}
 */
export async function takeReplica(options: TakeOptions): Promise<ReplicaAtStart> {
  const { place, warn } = options
  await recoverReplica(place)
  const isHere = await isOverlayThere(place)
  const remembered = await readRemembered(place)
  const asked = await askWhenThere(options)
  const there = asked instanceof ReplicaError ? undefined : asked
  const known = arrived(remembered, there)
  const start = startOf({ isHere, known, offered: there })
  if (start === 'take' || start === 'take-aside') return takeState(options, there, start === 'take-aside')
  if (start === 'refuse-unasked') throw asked
  if (start === 'refuse-older') throw rolledBack(known, there, place)
  if (start === 'send-again') warn(rolledBack(known, there))
  else if (asked instanceof ReplicaError) warn(asked)
  return { known, there, isTaken: false }
}

/**
 * What the data centre has.
 *
 * @throws {ReplicaError} REPLICA_UNREACHABLE, REPLICA_REFUSED, REPLICA_CORRUPT, REPLICA_MALFORMED, REPLICA_OTHER_BASE
 */
export async function askReplica({
  client,
  keys,
  overlay,
  signal,
}: Pick<TakeOptions, 'client' | 'keys' | 'overlay' | 'signal'>): Promise<ReplicaThere> {
  const bytes = await client.manifest(signal)
  if (bytes === undefined)
    return { ...noReplica, writtenAt: undefined, table: emptyTable(pieceCount(overlay.blocks)) }
  const { sequence, writtenAt, names, zeros } = openManifest(keys, overlay, bytes)
  return { sequence, digest: hash('sha256', bytes), writtenAt, table: { names, zeros } }
}

/** What this endpoint sent without hearing that it arrived counts as sent once it is there. */
export function arrived(
  { sending, ...known }: Remembered,
  there: Pick<ReplicaState, 'digest'> | undefined,
): KnownReplica {
  const isThere = sending !== undefined && sending.digest === there?.digest
  return isThere ? { ...sending, isUnchanged: false } : known
}

/** @param emptyPlace where there is nothing that could be sent again */
export function rolledBack(
  { sequence }: ReplicaState,
  there: ReplicaState | undefined,
  emptyPlace?: OverlayPlace,
): ReplicaError {
  const has = there === undefined || there.sequence === 0 ? 'nothing' : `state ${there.sequence}`
  const remedy =
    emptyPlace === undefined
      ? 'What is here is sent again. Ask an admin whether replicas were put back or removed.'
      : `Ask an admin whether replicas were put back or removed. To begin with what there is, remove ${statePath(emptyPlace)}.`
  return new ReplicaError(
    'REPLICA_ROLLED_BACK',
    `expected state ${sequence} or a later one in the data centre, which has ${has}`,
    { remedy },
  )
}

/** @returns what it threw when it cannot be asked */
async function askWhenThere(options: TakeOptions): Promise<ReplicaThere | ReplicaError> {
  try {
    return await askReplica(options)
  } catch (error) {
    const isAway =
      error instanceof ReplicaError &&
      (error.code === 'REPLICA_UNREACHABLE' || error.code === 'REPLICA_REFUSED')
    if (isAway) return error
    throw error
  }
}

async function takeState(
  options: TakeOptions,
  there: ReplicaThere | undefined,
  aside: boolean,
): Promise<ReplicaAtStart> {
  if (there === undefined) throw new TypeError('there is something to take')
  await take(options, there, aside).catch(async (error: unknown) => {
    await recoverReplica(options.place)
    throw error
  })
  const { sequence, digest } = there
  const known = { sequence, digest, isUnchanged: true }
  await remember(options.place, known)
  return { known, there, isTaken: true }
}

async function take(options: TakeOptions, there: ReplicaThere, aside: boolean): Promise<void> {
  const { place, overlay, say, signal } = options
  say(`Fetching what was written elsewhere, ${sizeOf(there)}…`)
  await fillDraft(options, there)
  signal.throwIfAborted()
  if (!(await isOverlayThere(place))) {
    await putDraftInPlace(place)
    return
  }
  // As long as it is open nobody else opens it, also where it is put meanwhile.
  await using _ = await openKeptSlots({ folder: place.dir, ...overlay })
  if (aside) {
    const name = await snapshotBefore(place, there.sequence)
    say(`What was written here and never sent is kept as the snapshot ${name}.`)
  }
  await putDraftInPlace(place)
}

async function fillDraft(options: TakeOptions, { table }: ReplicaThere): Promise<void> {
  const { overlay, place, signal } = options
  await using slots = await openKeptSlots({ folder: draftPath(place), ...overlay })
  for (const { first, count } of table.zeros.runs()) {
    const from = first * pieceBlocks
    await slots.zero(from, Math.min(count * pieceBlocks, overlay.blocks - from))
  }
  const pieces = table.names.entries()
  const failed = new AbortController()
  const stop = AbortSignal.any([signal, failed.signal])
  const workers = Array.from({ length: piecesAtOnce }, async () => {
    for (const [piece, name] of pieces) await fetchPiece({ ...options, signal: stop }, slots, piece, name)
  })
  for (const worker of workers) worker.catch((error: unknown) => failed.abort(error))
  await settled(workers)
  await slots.flush()
}

async function fetchPiece(
  { client, keys, overlay, signal }: TakeOptions,
  slots: SlotStore,
  piece: number,
  name: string,
): Promise<void> {
  const from = piece * pieceBlocks
  const blocks = Math.min(pieceBlocks, overlay.blocks - from)
  const sealed = await client.piece(name, signal)
  await writePiece(slots, from, await openPiece(keys, { piece, name, blocks }, sealed))
}

async function snapshotBefore(place: OverlayPlace, sequence: number): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    const name = `before-replica-${sequence}${attempt === 1 ? '' : `-${attempt}`}`
    try {
      await takeSnapshot(place, name, new Date())
      return name
    } catch (error) {
      if (!(error instanceof SnapshotError && error.code === 'SNAPSHOT_EXISTS')) throw error
    }
  }
}

function sizeOf({ table }: ReplicaThere): string {
  return `at most ${Math.ceil((table.names.size * pieceBlocks * slotBytes) / 1_048_576)} MiB`
}
