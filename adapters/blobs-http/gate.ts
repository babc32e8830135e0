/** Lets a few in at once; the others wait for their turn, in order, for as long as their signal lets them. */
export class Gate {
  readonly #places: number
  readonly #waiting = new Set<() => void>()
  #taken = 0

  constructor(places: number) {
    this.#places = places
  }

  /** @throws whatever `action` meets; the reason of `signal` */
  async run<T>(action: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted()
    if (this.#taken < this.#places) this.#taken++
    else await this.#turn(signal)
    try {
      return await action()
    } finally {
      // Whoever leaves hands its place on.
      const [next] = this.#waiting
      if (next === undefined) this.#taken--
      else next()
    }
  }

  #turn(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiting.delete(enter)
        signal?.removeEventListener('abort', abort)
      }
      const enter = () => {
        leave()
        resolve()
      }
      const abort = () => {
        leave()
        reject(signal?.reason as Error)
      }
      this.#waiting.add(enter)
      signal?.addEventListener('abort', abort, { once: true })
    })
  }
}
