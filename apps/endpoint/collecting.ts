import type { AgentLog } from '#apps/agent-client/index.ts'
import type { CollectorFailure, Observation } from '#core/evidence/index.ts'
import { observe, unknown, type WatchingCollector } from '#core/posture/index.ts'

export interface CollectingOptions {
  readonly collectors: readonly WatchingCollector[]
  /** How often all of them look although nothing seems to have changed, ms. */
  readonly everyMs: number
  readonly log: AgentLog
  /** How long one may take, ms. Apt may have to solve dependencies on a busy machine. */
  readonly timeoutMs?: number
}

/** The endpoint's own view of itself, kept fresh. */
export interface Collecting extends AsyncDisposable {
  /** What every collector saw last, in the order of the collectors. Empty until one has looked. */
  latest(): readonly Observation[]
  /** Resolves once every collector has looked, or failed to, for the first time; a slow one is waited for 5 s only, and then a change. */
  readonly collected: Promise<void>
  /**
   * Called soon after a value has changed, also from nothing when a collector has looked for the first time; several changes may be one call.
   *
   * @returns what ends it
   */
  onChange(listener: () => void): () => void
}

const defaultTimeoutMs = 90_000
/** Between two looks, however much changes: so much, and after one that a change called for so many times what it took. */
const leastPauseMs = 250
const leastPauseShare = 4
/** A machine has things to say long before its slowest collector has. */
const firstLookMs = 5_000
/** Changes so close to one another are told together. */
const gatherMs = 100
/** Why a look ends that nobody waits for any more. */
const stopped = 'stopped'

/**
 * Runs collectors beside each other, again and again, and at once where one notices a change. One that crashes, hangs or says what it may not
 * say makes its claims unknown and disturbs no other.
 */
export function createCollecting(options: CollectingOptions): Collecting {
  const { collectors, everyMs, log, timeoutMs = defaultTimeoutMs } = options
  const stop = new AbortController()
  const listeners = new Set<() => void>()
  const seen = new Map<string, readonly Observation[]>()
  const latest = (): readonly Observation[] => collectors.flatMap(({ name }) => seen.get(name) ?? [])
  let telling: NodeJS.Timeout | undefined
  const tell = (): void => {
    // What changes together is told together.
    telling ??= setTimeout(() => {
      telling = undefined
      if (!stop.signal.aborted) for (const listener of listeners) listener()
    }, gatherMs).unref()
  }
  const runs = collectors.map((collector) =>
    keepLooking(collector, { everyMs, timeoutMs, log }, stop.signal, (observations) => {
      const before = seen.get(collector.name)
      seen.set(collector.name, observations)
      if (before === undefined || !haveSameValues(before, observations)) tell()
    }),
  )
  return {
    latest,
    collected: within(firstLookMs, Promise.all(runs.map(async ({ first }) => first))),
    onChange: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    [Symbol.asyncDispose]: async () => {
      stop.abort()
      await Promise.all(runs.map(async ({ done }) => done))
    },
  }
}

function haveSameValues(some: readonly Observation[], others: readonly Observation[]): boolean {
  return valuesOf(some) === valuesOf(others)
}

function valuesOf(observations: readonly Observation[]): string {
  return JSON.stringify(observations.map(({ claim, value }) => [claim, value]))
}

/** Looks once with every collector. Failures are told as they are while it goes on. */
export async function collectOnce(
  collectors: readonly WatchingCollector[],
  log: AgentLog,
): Promise<readonly Observation[]> {
  const signal = AbortSignal.timeout(defaultTimeoutMs)
  const looks = collectors.map(async (collector) => (await look(collector, signal, log)).observations)
  return (await Promise.all(looks)).flat()
}

interface Looking {
  readonly everyMs: number
  readonly timeoutMs: number
  readonly log: AgentLog
}

/** One collector's life: never two looks at a time, also when one hangs on after its time. */
function keepLooking(
  collector: WatchingCollector,
  { everyMs, timeoutMs, log }: Looking,
  stop: AbortSignal,
  see: (observations: readonly Observation[]) => void,
): { readonly first: Promise<void>; readonly done: Promise<void> } {
  const first = Promise.withResolvers<void>()
  let wake = Promise.withResolvers<void>()
  let isCalled = false
  const life = async (): Promise<void> => {
    while (!stop.aborted) {
      wake = Promise.withResolvers<void>()
      const wasCalled = isCalled
      isCalled = false
      const began = performance.now()
      const { observations, settled } = await lookWithin(timeoutMs, collector, stop, log)
      if (!stop.aborted) see(observations)
      first.resolve()
      // What hangs holds things open: it is not asked again before it lets go.
      await untilAborted(stop, settled)
      const tookMs = performance.now() - began
      await pause(Math.max(leastPauseMs, wasCalled ? leastPauseShare * tookMs : 0), stop)
      await pause(everyMs, stop, wake.promise)
    }
  }
  const called = (): void => {
    isCalled = true
    wake.resolve()
  }
  startWatching(collector, called, stop, log)
  return { first: first.promise, done: life() }
}

async function lookWithin(
  timeoutMs: number,
  collector: WatchingCollector,
  stop: AbortSignal,
  log: AgentLog,
): Promise<Look> {
  const ending = new AbortController()
  const end = (): void => ending.abort(stopped)
  const timer = setTimeout(() => ending.abort(), timeoutMs)
  stop.addEventListener('abort', end)
  try {
    return await look(collector, ending.signal, log)
  } finally {
    clearTimeout(timer)
    stop.removeEventListener('abort', end)
  }
}

function startWatching(
  collector: WatchingCollector,
  changed: () => void,
  stop: AbortSignal,
  log: AgentLog,
): void {
  try {
    collector.watch?.(changed, stop)
  } catch (err) {
    log.warn({ err, collector: collector.name }, 'a collector cannot watch; it looks in rounds only')
  }
}

interface Look {
  readonly observations: readonly Observation[]
  /** When the collector is done, which may be after its time. */
  readonly settled: Promise<void>
}

async function look(collector: WatchingCollector, signal: AbortSignal, log: AgentLog): Promise<Look> {
  const running = (async () => collector.collect(signal))()
  const settled = running.then(
    () => undefined,
    () => undefined,
  )
  try {
    await untilAborted(signal, running)
    if (!signal.aborted) return { observations: checked(collector, await running), settled }
  } catch (err) {
    // The words of an error may hold paths and names; the log is the machine's own, evidence is not.
    if (!signal.aborted) {
      log.warn({ err, collector: collector.name }, 'a collector failed')
      return { observations: failed(collector, 'COLLECTOR_CRASHED', 'it failed; see the log'), settled }
    }
  }
  if (signal.reason !== stopped) log.warn({ collector: collector.name }, 'a collector took too long')
  return { observations: failed(collector, 'COLLECTOR_TIMED_OUT', 'it took too long'), settled }
}

function failed(
  { name, claims }: WatchingCollector,
  code: CollectorFailure,
  why: string,
): readonly Observation[] {
  return claims.map((claim) => unknown(claim, name, `${code}: ${why}`))
}

/** Each claim at most once and of those it may speak about, values of the vocabulary, details in bounds. */
function checked(collector: WatchingCollector, observations: readonly Observation[]): readonly Observation[] {
  const { claims } = collector
  const isOwn = observations.every(({ claim }) => claims.includes(claim))
  if (!isOwn || new Set(observations.map(({ claim }) => claim)).size < observations.length)
    return failed(collector, 'COLLECTOR_MISBEHAVED', 'it spoke of what is not its own')
  return observations.map(({ claim, value, collector, detail }) => observe(claim, value, collector, detail))
}

/** Waits for a promise, but not longer than until the signal ends. Leaves nothing behind at a signal that lives long. */
async function untilAborted(signal: AbortSignal, promise: Promise<unknown>): Promise<void> {
  const ended = Promise.withResolvers<void>()
  const end = (): void => ended.resolve()
  if (signal.aborted) return
  signal.addEventListener('abort', end)
  try {
    await Promise.race([promise, ended.promise])
  } finally {
    signal.removeEventListener('abort', end)
  }
}

async function within(ms: number, promise: Promise<unknown>): Promise<void> {
  const over = Promise.withResolvers<void>()
  const timer = setTimeout(over.resolve, ms).unref()
  await Promise.race([promise, over.promise])
  clearTimeout(timer)
}

async function pause(ms: number, stop: AbortSignal, wake?: Promise<void>): Promise<void> {
  const over = Promise.withResolvers<void>()
  const timer = setTimeout(over.resolve, ms).unref()
  await untilAborted(stop, wake === undefined ? over.promise : Promise.race([over.promise, wake]))
  clearTimeout(timer)
}
