import type { BlobReader } from '#core/blobs/blob-store.ts'
import { giveBack } from '#core/bytes/give-back.ts'
import { type ChunkReader, type ChunkReference, type Take, verifyChunk } from './chunk-reader.ts'
import { isAway } from './in-turn.ts'

/** Requests to a store at once: a slow line is filled by many, and more help nobody. */
const parallel = 16
/** Places that are kept free of what nobody waits for. */
const keptForUrgent = 4
/** Neighbours in a pack are read by one request up to this size: registries read that much for any. */
const largestRangeBytes = 1_048_576

/** A chunk that somebody asked for, until it is here: perhaps several times, since zeros are not all that repeats. */
interface Flight {
  readonly chunk: ChunkReference
  readonly waiting: Waiting[]
}

interface Waiting {
  readonly take: (stored: Uint8Array) => void
  readonly reject: (error: unknown) => void
}

export interface FetchCounts {
  bytesFetched: number
  requests: number
  damaged: number
}

/**
 * Reads chunks from a store: many requests at once, urgent ones first, neighbours together.
 *
 * @param isOnly nobody else can be asked for what could not be read
 * @param signal ends all of it
 */
export function upstreamChunks(
  blobs: BlobReader,
  counts: FetchCounts,
  isOnly: boolean,
  signal: AbortSignal,
): ChunkReader {
  const flights = new Map<string, Flight>()
  const urgent = new Map<string, Flight>()
  const ahead = new Map<string, Flight>()
  let running = 0
  let isScheduled = false

  const fetchRun = async (run: readonly [Flight, ...Flight[]]): Promise<void> => {
    const [{ chunk: first }] = run
    const length = run.reduce((sum, { chunk }) => sum + chunk.length, 0)
    try {
      const bytes = await blobs.read(first.pack, first.offset, length, signal)
      counts.bytesFetched += length
      counts.requests += 1
      for (const flight of run) settle(flight, bytes, first.offset, counts, blobs.name)
      giveBack(bytes)
    } catch (error) {
      for (const flight of run) fail(flight, error)
      // That a store hangs is noticed late: what waits for its turn would wait as long again.
      if (!isOnly && isAway(error)) for (const queue of [urgent, ahead]) failQueue(queue, flights, error)
    }
    // In the same turn: nobody joins a flight that has landed.
    for (const { chunk } of run) flights.delete(keyOf(chunk.pack, chunk.offset))
  }

  const pump = (): void => {
    isScheduled = false
    while (running < parallel) {
      const run = takeRun(urgent) ?? (running < parallel - keptForUrgent ? takeRun(ahead) : undefined)
      if (run === undefined) return
      running += 1
      void fetchRun(run).finally(() => {
        running -= 1
        pump()
      })
    }
  }

  const schedule = (): void => {
    if (isScheduled) return
    isScheduled = true
    // Whatever else is asked for in this turn may lie beside it.
    setImmediate(pump)
  }

  return {
    read: async (chunk, wish, take) => {
      signal.throwIfAborted()
      const key = keyOf(chunk.pack, chunk.offset)
      const flight = flights.get(key) ?? begin(chunk, flights, ahead)
      const hurry = (): void => {
        // Unless it is on its way already.
        if (!ahead.delete(key)) return
        urgent.set(key, flight)
        schedule()
      }
      if (wish.urgent) hurry()
      else wish.hurry = hurry
      schedule()
      return taken(flight, chunk, take, blobs.name)
    },
  }
}

function begin(chunk: ChunkReference, ...into: readonly Map<string, Flight>[]): Flight {
  const flight: Flight = { chunk, waiting: [] }
  for (const flights of into) flights.set(keyOf(chunk.pack, chunk.offset), flight)
  return flight
}

function keyOf(pack: string, offset: number): string {
  return `${pack}@${offset}`
}

/** The request that waits longest, with those that lie behind it in the pack. */
function takeRun(queue: Map<string, Flight>): [Flight, ...Flight[]] | undefined {
  const [first] = queue.values()
  if (first === undefined) return undefined
  const run: [Flight, ...Flight[]] = [first]
  let bytes = 0
  for (let next: Flight | undefined = first; next !== undefined; ) {
    const { pack, offset, length }: ChunkReference = next.chunk
    queue.delete(keyOf(pack, offset))
    bytes += length
    next = queue.get(keyOf(pack, offset + length))
    if (next === undefined || bytes + next.chunk.length > largestRangeBytes) break
    run.push(next)
  }
  return run
}

/** What somebody makes of a chunk when it is here. */
function taken<T>(flight: Flight, chunk: ChunkReference, take: Take<T>, from: string): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  flight.waiting.push({
    take: (stored) => {
      // Another chunk at the same place, as a store may say.
      if (chunk !== flight.chunk) verifyChunk(chunk, stored, from)
      resolve(take(stored))
    },
    reject,
  })
  return promise
}

function settle(flight: Flight, bytes: Uint8Array, start: number, counts: FetchCounts, from: string): void {
  const { chunk, waiting } = flight
  const stored = bytes.subarray(chunk.offset - start, chunk.offset - start + chunk.length)
  try {
    verifyChunk(chunk, stored, from)
  } catch (error) {
    counts.damaged += 1
    fail(flight, error)
    return
  }
  for (const { take, reject } of waiting) {
    try {
      take(stored)
    } catch (error) {
      reject(error)
    }
  }
}

function failQueue(queue: Map<string, Flight>, flights: Map<string, Flight>, error: unknown): void {
  for (const [key, flight] of queue) {
    flights.delete(key)
    fail(flight, error)
  }
  queue.clear()
}

function fail({ waiting }: Flight, error: unknown): void {
  for (const { reject } of waiting) reject(error)
}
