import type { Duplex } from 'node:stream'
import { join } from './join.ts'

/** The pairs of connections that are joined now. */
export class Pairs {
  readonly #lingerMs: number
  readonly #pairs = new Set<Pair>()
  #total = 0

  constructor(lingerMs: number) {
    this.#lingerMs = lingerMs
  }

  get count(): number {
    return this.#pairs.size
  }

  /** Since the start. */
  get total(): number {
    return this.#total
  }

  join(host: string, person: Duplex, spare: Duplex): void {
    const pair = { host, sockets: [person, spare] }
    this.#pairs.add(pair)
    this.#total++
    join(person, spare, this.#lingerMs, () => this.#pairs.delete(pair))
  }

  /** Cuts the pairs of a host at once. */
  closeHost(host: string): void {
    for (const pair of this.#pairs)
      if (pair.host === host) for (const socket of pair.sockets) socket.destroy()
  }
}

interface Pair {
  readonly host: string
  readonly sockets: readonly Duplex[]
}
