import { setTimeout as sleep } from 'node:timers/promises'

/** Work of many callers, some of it at a time. */
export interface Turns {
  /**
   * Runs the work once its turn has come: whoever asked first is first.
   *
   * @param of whose work it is
   */
  take<T>(work: () => Promise<T>, of?: string): Promise<T>
  /** How many wait for their turn; whose work waits several times is one. */
  waiting(): number
}

export function createTurns(atOnce: number): Turns {
  let working = 0
  const queue: { readonly begin: () => void; readonly of: string | undefined }[] = []
  return {
    take: async (work, of) => {
      if (working >= atOnce) await new Promise<void>((begin) => queue.push({ begin, of }))
      else working += 1
      try {
        return await work()
      } finally {
        // Whoever is next takes this place.
        const next = queue.shift()
        if (next === undefined) working -= 1
        else next.begin()
      }
    },
    waiting: () => new Set(queue.map((one) => one.of ?? one)).size,
  }
}

/**
 * Lets what many bring be done together, up to so many times a second: who comes first goes on at once, whoever comes within the interval
 * after that waits for its end. What is done one after the other finds code and data in the processor's caches.
 */
export function createBeat(intervalMs: number): () => Promise<void> {
  let lastAt = -Infinity
  let next: Promise<void> | undefined
  const begin = (): void => {
    lastAt = performance.now()
    next = undefined
  }
  return async () => {
    if (next !== undefined) return next
    const waitMs = lastAt + intervalMs - performance.now()
    if (waitMs <= 0) return begin()
    next = sleep(waitMs).then(begin)
    return next
  }
}

/**
 * Answers the questions of many with one: what is asked while an answer is under way is asked together, next.
 *
 * @param ask throws for all that it was asked for
 */
export function asOne<Key, Value>(
  ask: (keys: readonly Key[]) => Promise<ReadonlyMap<Key, Value>>,
): (key: Key) => Promise<Value | undefined> {
  let underWay: Promise<unknown> = Promise.resolve()
  let next: { readonly keys: Set<Key>; readonly answer: Promise<ReadonlyMap<Key, Value>> } | undefined
  return async (key) => {
    if (next === undefined) {
      const keys = new Set<Key>()
      const answer = underWay.then(async () => {
        next = undefined
        return ask([...keys])
      })
      next = { keys, answer }
      underWay = answer.catch(() => undefined)
    }
    next.keys.add(key)
    return (await next.answer).get(key)
  }
}
