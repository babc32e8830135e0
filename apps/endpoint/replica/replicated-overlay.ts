import { join } from 'node:path'
import { openDiscardedSlots, openKeptSlots } from '#adapters/overlay-file/index.ts'
import { capturable, pieceBlocks } from '#core/block/capturable.ts'
import { memorySlots } from '#core/block/memory-slots.ts'
import type { SlotStore } from '#core/block/slot-store.ts'
import { spilledSlots } from '#core/block/spilled-slots.ts'
import { type KnownReplica, ReplicaError, ReplicaKeys, type ReplicaState } from '#core/replica/index.ts'
import type { Overlay } from '#core/trust/words.ts'
import type { ReplicaStats } from '../disk/disk-stats.ts'
import type { OverlayPlace } from '../vm/snapshots.ts'
import { type ReplicaClient, replicaClient } from './replica-client.ts'
import { remember } from './replica-place.ts'
import { Replicator, type ReplicatorOptions } from './replicator.ts'
import { askReplica, type OverlayToOpen, type ReplicaThere, rolledBack, takeReplica } from './take-replica.ts'

export interface ReplicaOptions {
  /** Holds this endpoint's identity. */
  readonly dir: string
  readonly leaseId: string
  readonly personId: string
  /** The workspace whose VM writes it; empty for disks, which a person's workspaces share. */
  readonly scope: string
  readonly place: OverlayPlace
  /** As the site says now. */
  readonly overlayNow: () => Overlay
  readonly intervalMs?: number | undefined
  readonly bytesPerSecond?: number | undefined
  /** Tells the person what they wait for. */
  readonly say?: ((sentence: string) => void) | undefined
  readonly warn: (error: unknown) => void
  /** Of the lease. */
  readonly signal: AbortSignal
  /** Another one, for tests; owned. */
  readonly client?: ReplicaClient
}

/** Opens a kept overlay so that what is written on it is also in the data centre. */
export type OpenReplicated = (overlay: OverlayToOpen) => Promise<ReplicatedOverlay>

export interface ReplicatedOverlay {
  readonly slots: SlotStore
  /** The overlay on this endpoint was replaced by what the data centre had: what ran on it before fits it no more. */
  readonly isTaken: boolean
  status(): ReplicaStats
  /** Sends what is still waiting, within a minute, and says so. To be called before the lease is given back. */
  finish(): Promise<void>
  /** Sends nothing more, and forgets its keys; before the slots are closed. */
  stop(): Promise<void>
  /** The slots are closed. */
  closed(): Promise<void>
}

const usualIntervalMs = 60_000
const finishMs = 60_000
/** What those who write put aside stays in memory up to this. */
const asideMemoryBytes = 16_777_216
const asideFileBytes = 4_294_967_296

/** An overlay and its replica, under one lease. */
export function replicatedOverlay(options: ReplicaOptions): OpenReplicated {
  return async (overlay) => {
    const { dir, leaseId, personId, scope, place, warn, signal, say = () => {} } = options
    using opening = new DisposableStack()
    const keys = new ReplicaKeys(overlay.key, { personId, scope, base: overlay.base })
    opening.defer(() => keys.wipe())
    const client = opening.use(options.client ?? replicaClient(dir, leaseId))
    const { known, there, isTaken } = await takeReplica({ client, keys, overlay, place, say, warn, signal })
    const slots = capturable(await openKeptSlots({ folder: place.dir, ...overlay }), overlay.blocks)
    if (known.isUnchanged && known.digest === there?.digest)
      await remember(place, { ...known, isUnchanged: false })
    else markHeld(slots, overlay.blocks, there)
    const replicator = replicatorOf({ client, keys, overlay, slots, known, there }, options)
    const resources = opening.move()
    let stopping: Promise<void> | undefined
    const stop = (): Promise<void> => {
      stopping ??= replicator.stop().finally(() => resources.dispose())
      return stopping
    }
    const withdraw = (): void => void stop()
    signal.addEventListener('abort', withdraw, { once: true })
    return {
      slots,
      isTaken,
      status: () => replicator.status,
      finish: async () => {
        const { waitingBytes, stopped } = replicator.status
        if (waitingBytes === 0 || stopped !== undefined || signal.aborted) return
        say('Sending what was written to the data centre…')
        await replicator.finish(finishMs)
        if (!replicator.known.isUnchanged) say('Not all of it was sent; the rest is sent the next time.')
      },
      stop: async () => {
        signal.removeEventListener('abort', withdraw)
        await stop()
      },
      closed: async () => {
        if (replicator.known.isUnchanged) await remember(place, replicator.known)
      },
    }
  }
}

function replicatorOf(
  parts: Pick<ReplicatorOptions, 'client' | 'keys' | 'overlay' | 'slots' | 'there'> & {
    readonly known: KnownReplica
  },
  { place, overlayNow, intervalMs = usualIntervalMs, bytesPerSecond, warn, signal }: ReplicaOptions,
): Replicator {
  const { overlay, slots } = parts
  let known: ReplicaState = parts.known
  /** States that were sent and perhaps arrived, also later than was thought. */
  const sent = new Map<string, ReplicaState>()
  return new Replicator({
    ...parts,
    aside: () => asideSlots(place, overlay),
    meet: async (now) => {
      const found = await askReplica({ ...parts, signal: now })
      known = sent.get(found.digest) ?? known
      if (found.sequence < known.sequence) warn(rolledBack(known, found))
      else if (found.digest !== known.digest) throw wentOn(found)
      markHeld(slots, overlay.blocks, found)
      return found
    },
    isWanted: () => !signal.aborted && overlayNow() === 'replicate',
    intervalMs,
    bytesPerSecond,
    now: Date.now,
    onSending: async (sending) => {
      sent.set(sending.digest, sending)
      await remember(place, { ...known, isUnchanged: false, sending })
    },
    onSent: async (state) => {
      known = state
      sent.clear()
      await remember(place, { ...state, isUnchanged: false })
    },
    warn,
  })
}

/** Counts all that is here, and all that is there, as changed. */
function markHeld(
  slots: ReturnType<typeof capturable>,
  blocks: number,
  there: ReplicaThere | undefined,
): void {
  for (let block = 0; block < blocks; ) {
    const { kind, count } = slots.run(block, blocks - block)
    const first = Math.floor(block / pieceBlocks)
    if (kind !== 'absent') slots.markChanged(first, Math.floor((block + count - 1) / pieceBlocks) - first + 1)
    block += count
  }
  if (there === undefined) return
  for (const piece of there.table.names.keys()) slots.markChanged(piece, 1)
  for (const { first, count } of there.table.zeros.runs()) slots.markChanged(first, count)
}

async function asideSlots({ replica }: OverlayPlace, { blocks, random }: OverlayToOpen): Promise<SlotStore> {
  const folder = join(replica, 'aside')
  const file = await openDiscardedSlots({ folder, blocks, maximumBytes: asideFileBytes, random })
  return spilledSlots(memorySlots(blocks, asideMemoryBytes), file)
}

function wentOn({ sequence }: ReplicaThere): ReplicaError {
  return new ReplicaError('REPLICA_CONFLICT', `another device went on with it, to state ${sequence}`, {
    remedy: 'What is written here is not sent. Close the workspace and open it again to take that state.',
  })
}
