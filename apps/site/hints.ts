import type { Hint, Store } from '#adapters/store-postgres/index.ts'

/** Spreads the hints that nodes give each other to whoever in this node waits for them. */
export interface Hints {
  /** Tells every node, this one included. */
  tell(hint: Hint): Promise<void>
  /** @returns how to stop */
  on(listener: (hint: Hint) => void): () => void
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
  store.listen((hint) => {
    for (const listener of listeners) listener(hint)
  }, signal)
  const on = (listener: (hint: Hint) => void): (() => void) => {
    listeners.add(listener)
    return () => listeners.delete(listener)
  }
  return {
    tell: store.notify,
    on,
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
  let wake: () => void = () => {}
  let hinted = false
  const off = on((hint) => {
    if (!concerns(hint)) return
    hinted = true
    wake()
  })
  try {
    for (;;) {
      hinted = false
      if (await isTrue()) return true
      const left = deadline - performance.now()
      if (left <= 0) return false
      if (hinted) continue
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(lostHintMs, left))
        wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  } finally {
    off()
  }
}
