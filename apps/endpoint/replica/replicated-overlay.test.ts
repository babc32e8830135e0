import { randomBytes, randomFillSync } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { isCoded } from '#core/errors/coded-error.ts'
import { decodeManifest, ReplicaError } from '#core/replica/index.ts'
import type { Overlay } from '#core/trust/words.ts'
import { listSnapshots, type OverlayPlace, overlayPlace } from '../vm/snapshots.ts'
import type { ReplicaClient } from './replica-client.ts'
import { type ReplicatedOverlay, replicatedOverlay } from './replicated-overlay.ts'

const blocks = 1000
const overlay = {
  blocks,
  key: randomBytes(32),
  base: `office:1 ${'ab'.repeat(32)}`,
  random: (bytes: Uint8Array) => void randomFillSync(bytes),
}
let folder: string
let data: DataCentre
let said: string[]

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tc-replicated-'))
  data = new DataCentre()
  said = []
})
afterEach(() => rm(folder, { recursive: true }))

test('a state whose answer was lost is known as one’s own, at once and after a restart', async () => {
  const one = await open('one')
  await one.slots.write(0, block(1))
  await until(() => data.sequence === 1)
  data.fault = 'answer lost'
  await one.slots.write(1, block(2))
  await until(() => data.sequence === 2)
  data.fault = undefined
  await one.slots.write(2, block(3))
  await until(() => data.sequence === 3)
  await close(one)
  expect(said).toEqual([expect.stringContaining('REPLICA_UNREACHABLE')])

  const again = await open('one')
  data.fault = 'answer lost'
  await again.slots.write(3, block(4))
  await until(() => data.sequence === 4)
  await close(again)
  data.fault = undefined
  said = []
  const third = await open('one')
  expect(said).toEqual([])
  expect(third.isTaken).toBe(false)
  expect(await listSnapshots(place('one'))).toEqual([])
  await close(third)
})

test('a state that arrives later than was thought is one’s own, too', async () => {
  const one = await open('one')
  data.fault = 'arrives late'
  await one.slots.write(0, block(1))
  await until(() => data.late !== undefined)
  data.fault = undefined
  await one.slots.write(1, block(2))
  await until(() => data.sequence >= 2)
  expect(one.status().stopped).toBeUndefined()
  await close(one)
  const two = await open('two')
  expect([await valueAt(two, 0), await valueAt(two, 1)]).toEqual([1, 2])
  await close(two)
})

test('pieces that the site has lost before they were committed are sent again', async () => {
  const one = await open('one')
  data.fault = 'away'
  await one.slots.write(0, block(1))
  await until(() => data.pieces.size === 1)
  data.pieces.clear()
  data.fault = undefined
  await until(() => data.sequence === 1)
  expect(data.pieces.size).toBe(1)
  await close(one)
})

test('whoever writes waits for nobody, and what is sent is of one moment', async () => {
  const one = await open('one')
  for (let piece = 0; piece < 10; piece++) await one.slots.write(piece * 64, block(1))
  const gate = Promise.withResolvers<void>()
  data.gate = gate.promise
  await until(() => data.asked > 0)
  for (let piece = 0; piece < 10; piece++) await one.slots.write(piece * 64, block(2))
  expect(one.status().waitingBytes).toBeGreaterThan(0)
  data.gate = undefined
  gate.resolve()
  await until(() => data.sequence === 1)
  const state = data.copy()
  await until(() => data.sequence === 2)
  await close(one)
  const values = async (from: DataCentre): Promise<unknown> => {
    const other = await open(`of ${from.sequence}`, from)
    const all = await Promise.all(Array.from({ length: 10 }, (_, piece) => valueAt(other, piece * 64)))
    await close(other)
    return new Set(all)
  }
  expect(await values(state)).toEqual(new Set([1]))
  expect(await values(data)).toEqual(new Set([2]))
})

test('a trim of the whole disk is nothing to send but a list, and comes back as zeros', async () => {
  const one = await open('one')
  await one.slots.write(5, block(9))
  await one.slots.zero(0, blocks)
  await until(() => data.sequence === 1)
  expect(data.pieces.size).toBe(0)
  await close(one)
  const two = await open('two')
  expect(two.slots.run(0, blocks)).toEqual({ kind: 'zero', count: blocks })
  await close(two)
})

test('once it is over nothing more is sent, and what is left of it is an overlay', async () => {
  const lease = new AbortController()
  const one = await open('one', data, { signal: lease.signal })
  await one.slots.write(0, block(1))
  lease.abort(new Error('withdrawn'))
  await one.finish()
  await close(one)
  expect(data.asked).toBe(0)
  let now: Overlay = 'keep'
  const again = await open('one', data, { overlayNow: () => now })
  await again.slots.write(1, block(2))
  await again.finish()
  expect(data.sequence).toBe(0)
  now = 'replicate'
  await again.finish()
  expect(data.sequence).toBe(1)
  await close(again)
  expect((await readdir(place('one').dir)).toSorted()).toEqual(['data', 'journal', 'lock'])
})

test('with nothing here and nobody to ask, it does not begin; with something here it goes on', async () => {
  data.fault = 'away'
  await expect(open('one')).rejects.toMatchObject({ code: 'REPLICA_UNREACHABLE' })
  data.fault = undefined
  const one = await open('one')
  await one.slots.write(0, block(1))
  await one.finish()
  await close(one)
  data.fault = 'away'
  const again = await open('one')
  await again.slots.write(1, block(2))
  data.fault = undefined
  await until(() => data.sequence === 2)
  await close(again)
})

interface Change {
  readonly signal?: AbortSignal
  readonly overlayNow?: () => Overlay
}

function open(device: string, client: DataCentre = data, change: Change = {}): Promise<ReplicatedOverlay> {
  return replicatedOverlay({
    dir: folder,
    leaseId: 'unused',
    personId: 'p1',
    scope: '',
    place: place(device),
    overlayNow: () => 'replicate',
    intervalMs: 5,
    warn: (error) => void said.push(isCoded(error) ? error.code : String(error)),
    signal: new AbortController().signal,
    client,
    ...change,
  })(overlay)
}

async function close(one: ReplicatedOverlay): Promise<void> {
  await one.stop()
  await one.slots[Symbol.asyncDispose]()
  await one.closed()
}

function place(device: string): OverlayPlace {
  return overlayPlace(join(folder, device), 'office', '1')
}

function block(value: number): Uint8Array {
  return new Uint8Array(4096).fill(value)
}

async function valueAt({ slots }: ReplicatedOverlay, at: number): Promise<number | undefined> {
  return slots.run(at, 1).kind === 'data' ? (await slots.read(at, 1))[0] : undefined
}

async function until(isTrue: () => boolean): Promise<void> {
  for (let turn = 0; !isTrue(); turn++) {
    if (turn > 2000) throw new Error(`it never became true: ${String(isTrue)}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** A site in memory that keeps what the protocol promises, and loses answers and itself when it is told to. */
class DataCentre implements ReplicaClient {
  readonly pieces = new Map<string, Uint8Array>()
  fault: 'away' | 'answer lost' | 'arrives late' | undefined
  /** What those wait for who send pieces. */
  gate: Promise<void> | undefined
  asked = 0
  late: { readonly bytes: Uint8Array; readonly previous: number } | undefined
  #manifest: Uint8Array | undefined

  get sequence(): number {
    return this.#manifest === undefined ? 0 : decodeManifest(this.#manifest).sequence
  }

  copy(): DataCentre {
    const copy = new DataCentre()
    copy.#manifest = this.#manifest
    for (const [name, bytes] of this.pieces) copy.pieces.set(name, bytes)
    return copy
  }

  async manifest(): Promise<Uint8Array | undefined> {
    if (this.fault === 'away') throw away()
    return this.#manifest
  }

  async putManifest(bytes: Uint8Array, previous: number): Promise<void> {
    if (this.fault === 'away') throw away()
    if (this.fault === 'arrives late') {
      this.late = { bytes, previous }
      throw away()
    }
    if (this.late !== undefined) this.#commit(this.late.bytes, this.late.previous)
    this.late = undefined
    this.#commit(bytes, previous)
    if (this.fault === 'answer lost') throw away()
  }

  async piece(name: string): Promise<Uint8Array> {
    return this.pieces.get(name)!
  }

  async putPiece(name: string, bytes: Uint8Array): Promise<void> {
    this.asked++
    await this.gate
    this.pieces.set(name, bytes)
  }

  [Symbol.dispose](): void {}

  #commit(bytes: Uint8Array, previous: number): void {
    const manifest = decodeManifest(bytes)
    if (this.sequence !== previous) throw new ReplicaError('REPLICA_CONFLICT', `${previous} is not the state`)
    for (const name of manifest.names.values())
      if (!this.pieces.has(name)) throw new ReplicaError('REPLICA_INCOMPLETE', `no piece ${name}`)
    this.#manifest = bytes
  }
}

function away(): ReplicaError {
  return new ReplicaError('REPLICA_UNREACHABLE', 'nobody answers')
}
