import { mkdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { replaceFile } from '#apps/agent-client/index.ts'
import { type KnownReplica, noReplica, type ReplicaState } from '#core/replica/index.ts'
import { type OverlayPlace, overlayStamp, syncFolder } from '../vm/snapshots.ts'

/** What an endpoint remembers of the replica of one overlay, beside the overlays. */

const one = { sequence: z.int().min(0), digest: z.string() }
const schema = z.strictObject({
  /** What this endpoint sent or took last. */
  ...one,
  /** Of the overlay's files when they held just that; absent once something may have been written since. */
  stamp: z.string().optional(),
  /** What it was about to send: whether that arrived it may not have heard. */
  sending: z.strictObject(one).optional(),
})

export interface Remembered extends KnownReplica {
  readonly sending?: ReplicaState | undefined
}

export async function readRemembered(place: OverlayPlace): Promise<Remembered> {
  const text = await readFile(statePath(place), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (text === undefined) return { ...noReplica, isUnchanged: false }
  const { stamp, ...state } = schema.parse(JSON.parse(text))
  return { ...state, isUnchanged: stamp !== undefined && stamp === (await overlayStamp(place)) }
}

/** @param state `isUnchanged`: the overlay, which is closed, holds just that */
export async function remember(place: OverlayPlace, state: Remembered): Promise<void> {
  const { isUnchanged, sequence, digest, sending } = state
  await mkdir(place.replica, { recursive: true, mode: 0o700 })
  const stamp = isUnchanged ? await overlayStamp(place) : undefined
  await replaceFile(statePath(place), JSON.stringify({ sequence, digest, stamp, sending }))
}

export function statePath({ replica }: OverlayPlace): string {
  return join(replica, 'state.json')
}

/** Where an overlay is made of a replica, before it is one. */
export function draftPath({ replica }: OverlayPlace): string {
  return join(replica, 'draft')
}

/** Ends what a crash interrupted: the overlay is as it was, or as it shall be. */
export async function recoverReplica(place: OverlayPlace): Promise<void> {
  if ((await isThere(before(place))) && !(await isThere(place.dir))) await rename(before(place), place.dir)
  for (const left of [before(place), draftPath(place)]) await rm(left, { recursive: true, force: true })
}

/** Puts the draft, which is closed and durable, in the overlay's place. */
export async function putDraftInPlace(place: OverlayPlace): Promise<void> {
  await mkdir(join(place.dir, '..'), { recursive: true, mode: 0o700 })
  if (await isThere(place.dir)) await rename(place.dir, before(place))
  await rename(draftPath(place), place.dir)
  await syncFolder(join(place.dir, '..'))
  await rm(before(place), { recursive: true, force: true })
}

/** Whether there is an overlay: without its journal it holds nothing. */
export function isOverlayThere({ dir }: OverlayPlace): Promise<boolean> {
  return isThere(join(dir, 'journal'))
}

function before({ replica }: OverlayPlace): string {
  return join(replica, 'before')
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false
      throw error
    },
  )
}
