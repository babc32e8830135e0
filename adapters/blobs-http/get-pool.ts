import type { OnReadOpts, Socket } from 'node:net'
import { BlobError } from '#core/blobs/index.ts'
import { GetConnection } from './get-connection.ts'
import type { HttpAnswer, HttpRequest } from './http-message.ts'

export interface GetPoolOptions {
  readonly origin: string
  /** `Host` of all requests. */
  readonly host: string
  readonly open: (onread: OnReadOpts) => Socket
}

/** After so many answers in turn that were not understood, this server is asked in another way. Many send parts plainly, and lists not. */
const maximumOthers = 3

type Kind = 'part' | 'whole'

/** Asks over connections that stay open: as many as are used at once. */
export class GetPool {
  readonly #options: GetPoolOptions
  readonly #all = new Set<GetConnection>()
  readonly #idle: GetConnection[] = []
  readonly #others: Record<Kind, number> = { part: 0, whole: 0 }

  constructor(options: GetPoolOptions) {
    this.#options = options
  }

  /** Whether it is worth while to ask for it here. */
  isFit(request: HttpRequest): boolean {
    return request.method === 'GET' && this.#others[kindOf(request)] < maximumOthers
  }

  /**
   * @param request one that is fit
   * @param headers all that are sent beside those of each request
   * @param deadlineMs for the whole answer
   * @returns undefined when the answer was not a plain one: the careful client finds out what it is
   */
  async get(
    request: HttpRequest,
    headers: Readonly<Record<string, string>>,
    deadlineMs: number,
  ): Promise<HttpAnswer | undefined> {
    const { path, range, maximumBytes, signal } = request
    const head = this.#head(path, headers, range)
    const kind = kindOf(request)
    for (;;) {
      signal?.throwIfAborted()
      const connection = this.#take()
      const result = await connection.get({ head, range, maximumBytes, deadlineMs, signal })
      // All that were kept may have ended; a new one cannot be stale.
      if (result === 'stale') continue
      if (connection.isUsable) this.#idle.push(connection)
      this.#others[kind] = result === 'other' ? this.#others[kind] + 1 : 0
      return result === 'other' ? undefined : result
    }
  }

  close(): void {
    for (const connection of this.#all) connection.close()
  }

  #take(): GetConnection {
    // The one used last: its congestion window is the largest.
    const kept = this.#idle.pop()
    if (kept?.isUsable) return kept
    if (kept !== undefined) return this.#take()
    const connection = new GetConnection(this.#options.open, this.#options.origin, () => {
      this.#all.delete(connection)
      const at = this.#idle.indexOf(connection)
      if (at >= 0) this.#idle.splice(at, 1)
    })
    this.#all.add(connection)
    return connection
  }

  #head(path: string, headers: Readonly<Record<string, string>>, range: HttpRequest['range']): string {
    if (!/^\/[\x21-\x7e]*$/.test(path)) {
      throw new BlobError('BLOB_BAD_STORE', `expected a path, got ${JSON.stringify(path.slice(0, 200))}`)
    }
    const all = {
      host: this.#options.host,
      connection: 'keep-alive',
      'accept-encoding': 'identity',
      ...(range && { range: `bytes=${range.offset}-${range.offset + range.length - 1}` }),
      ...headers,
    }
    const lines = Object.entries(all).map(([name, value]) => {
      // RFC 9110 5.1, 5.5.
      if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name) || !/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
        throw new BlobError(
          'BLOB_BAD_STORE',
          `the header ${JSON.stringify(name.slice(0, 100))} cannot be sent`,
        )
      }
      return `${name}: ${value}\r\n`
    })
    return `GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`
  }
}

function kindOf({ range }: HttpRequest): Kind {
  return range === undefined ? 'whole' : 'part'
}
