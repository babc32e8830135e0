/** Work of many callers, some of it at a time. */
export interface Turns {
  /** Runs the work once its turn has come: whoever asked first is first. */
  take<T>(work: () => Promise<T>): Promise<T>
  /** How many wait for their turn. */
  waiting(): number
}

export function createTurns(atOnce: number): Turns {
  let working = 0
  const queue: (() => void)[] = []
  return {
    take: async (work) => {
      if (working >= atOnce) await new Promise<void>((resolve) => queue.push(resolve))
      else working += 1
      try {
        return await work()
      } finally {
        // Whoever is next takes this place.
        const next = queue.shift()
        if (next === undefined) working -= 1
        else next()
      }
    },
    waiting: () => queue.length,
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
