import type { OnReadOpts, Socket } from 'node:net'
import { BlobError } from '#core/blobs/index.ts'
import { http } from './node-http.ts'
import { RangeConnection, type RangeRequest } from './range-connection.ts'

export interface RangePoolOptions {
  readonly origin: string
  /** `Host` of all requests. */
  readonly host: string
  readonly open: (onread: OnReadOpts) => Socket
}

/** After so many answers in turn that were not understood, this server is asked in another way. */
const maximumOthers = 3

/** Asks for ranges over connections that stay open: as many as are used at once. */
export class RangePool {
  readonly #options: RangePoolOptions
  readonly #all = new Set<RangeConnection>()
  readonly #idle: RangeConnection[] = []
  #others = 0

  constructor(options: RangePoolOptions) {
    this.#options = options
  }

  /** Whether it is worth while to ask here. */
  get isFit(): boolean {
    return this.#others < maximumOthers
  }

  /** @returns undefined when the answer was not the expected one: the careful client finds out what it is */
  async get(
    path: string,
    headers: Readonly<Record<string, string>>,
    range: Omit<RangeRequest, 'head'>,
  ): Promise<Uint8Array | undefined> {
    const head = this.#head(path, headers, range)
    for (;;) {
      range.signal?.throwIfAborted()
      const connection = this.#take()
      const result = await connection.get({ ...range, head })
      // All that were kept may have ended; a new one cannot be stale.
      if (result === 'stale') continue
      if (connection.isUsable) this.#idle.push(connection)
      this.#others = result === 'other' ? this.#others + 1 : 0
      return result === 'other' ? undefined : result
    }
  }

  close(): void {
    for (const connection of this.#all) connection.close()
  }

  #take(): RangeConnection {
    // The one used last: its congestion window is the largest.
    const kept = this.#idle.pop()
    if (kept?.isUsable) return kept
    if (kept !== undefined) return this.#take()
    const connection = new RangeConnection(this.#options.open, this.#options.origin, () => {
      this.#all.delete(connection)
      const at = this.#idle.indexOf(connection)
      if (at >= 0) this.#idle.splice(at, 1)
    })
    this.#all.add(connection)
    return connection
  }

  #head(
    path: string,
    headers: Readonly<Record<string, string>>,
    { offset, length }: Omit<RangeRequest, 'head'>,
  ): string {
    if (!/^\/[\x21-\x7e]*$/.test(path)) {
      throw new BlobError('BLOB_BAD_STORE', `expected a path, got ${JSON.stringify(path.slice(0, 200))}`)
    }
    const lines = Object.entries(headers).map(([name, value]) => {
      http.validateHeaderName(name)
      http.validateHeaderValue(name, value)
      return `${name}: ${value}\r\n`
    })
    return `GET ${path} HTTP/1.1\r\nhost: ${this.#options.host}\r\nconnection: keep-alive\r\naccept-encoding: identity\r\nrange: bytes=${offset}-${offset + length - 1}\r\n${lines.join('')}\r\n`
  }
}
