import type { Hint, Store } from '#adapters/store-postgres/index.ts'

/** Spreads the hints that nodes give each other to whoever in this node waits for them. */
export interface Hints {
  /** Tells every node, this one included. */
  tell(hint: Hint): Promise<void>
  /** @returns how to stop */
  on(listener: (hint: Hint) => void): () => void
  /** As `on`, of one endpoint among many: hears its hints, and that some got lost. */
  onEndpoint(id: string, listener: () => void): () => void
  /**
   * Waits until `isTrue` is, asking it now, after each hint that `concerns` it, and once a second for hints that got lost.
   * @returns false when `timeoutMs` passed first
   */
  until(
    isTrue: () => Promise<boolean>,
    concerns: (hint: Hint) => boolean,
    timeoutMs: number,
  ): Promise<boolean>
}

export function createHints(store: Store, signal: AbortSignal): Hints {
  const listeners = new Set<(hint: Hint) => void>()
  // A node has ten thousand of them, and a change of one is none of the others' business.
  const endpoints = new Map<string, Set<() => void>>()
  store.listen((hint) => {
    for (const listener of listeners) listener(hint)
    if (hint.topic === 'endpoint') for (const listener of endpoints.get(hint.id) ?? []) listener()
    if (hint.topic === 'lost') for (const some of endpoints.values()) for (const listener of some) listener()
  }, signal)
  const on = (listener: (hint: Hint) => void): (() => void) => {
    listeners.add(listener)
    return () => listeners.delete(listener)
  }
  const onEndpoint = (id: string, listener: () => void): (() => void) => {
    const some = endpoints.get(id) ?? new Set()
    endpoints.set(id, some.add(listener))
    return () => {
      if (some.delete(listener) && some.size === 0) endpoints.delete(id)
    }
  }
  return {
    tell: (hint) => store.notify(hint),
    on,
    onEndpoint,
    until: (isTrue, concerns, timeoutMs) => until(on, isTrue, concerns, timeoutMs),
  }
}

const lostHintMs = 1_000

async function until(
  on: Hints['on'],
  isTrue: () => Promise<boolean>,
  concerns: (hint: Hint) => boolean,
  timeoutMs: number,
): Promise<boolean> {
  const deadline = performance.now() + timeoutMs
  let hinted = Promise.withResolvers<void>()
  const off = on((hint) => {
    if (concerns(hint)) hinted.resolve()
  })
  try {
    for (;;) {
      // Renewed before asking: a hint that comes while the answer is under way counts.
      hinted = Promise.withResolvers<void>()
      if (await isTrue()) return true
      const left = deadline - performance.now()
      if (left <= 0) return false
      await soonerOf(hinted.promise, Math.min(lostHintMs, left))
    }
  } finally {
    off()
  }
}

/** Resolves with the promise, after `ms` at the latest; leaves no timer behind. */
export async function soonerOf(promise: Promise<void>, ms: number): Promise<void> {
  const timeout = Promise.withResolvers<void>()
  const timer = setTimeout(timeout.resolve, ms)
  await Promise.race([promise, timeout.promise])
  clearTimeout(timer)
}
