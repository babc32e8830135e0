/** Lets those go on at once that touch different blocks, and those that touch the same ones in the order they came. */
export class RangeLock {
  readonly #held = new Set<Held>()

  /**
   * Runs `work` when everybody who came before and touches one of the blocks is done.
   *
   * @returns what it returns; begun before this returns when nobody is in the way
   */
  run<Result>(block: number, count: number, work: () => Promise<Result>): Promise<Result> {
    const end = block + count
    const before: Promise<unknown>[] = []
    for (const other of this.#held) {
      if (other.block < end && block < other.end) before.push(other.done)
    }
    const { promise: done, resolve } = Promise.withResolvers<void>()
    const mine: Held = { block, end, done }
    this.#held.add(mine)
    const result = before.length === 0 ? work() : Promise.all(before).then(work)
    const release = (): void => {
      this.#held.delete(mine)
      resolve()
    }
    result.then(release, release)
    return result
  }

  /** Waits for everybody who is there now. */
  async idle(): Promise<void> {
    await Promise.all(Array.from(this.#held, ({ done }) => done))
  }
}

interface Held {
  readonly block: number
  readonly end: number
  /** Never rejects. */
  readonly done: Promise<void>
}
