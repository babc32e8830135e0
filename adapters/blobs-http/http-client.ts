import { BlobError } from '#core/blobs/index.ts'
import { type ConnectOptions, connectTo, deadlineMs, type Peer, peerOf } from './connecting.ts'
import { Gate } from './gate.ts'
import { GetPool } from './get-pool.ts'
import type { HttpAnswer, HttpRequest } from './http-message.ts'
import { NodeClient } from './node-client.ts'
import { transportError } from './transport-error.ts'

export interface HttpOptions extends ConnectOptions {
  /** Sent with each request to the store, and to nobody else. */
  readonly headers?: Readonly<Record<string, string>>
  /** How many requests are under way at once at most; 16 without. */
  readonly connections?: number
}

/**
 * HTTP/1.1 to one origin, over connections that stay open. With TLS only version 1.3, and never a session again.
 *
 * What is read is asked of `GetPool`, which understands plain answers only. When another one comes, the request is made
 * again through Node's client, which is slower and knows them all.
 */
export class HttpClient implements Disposable {
  readonly origin: string
  readonly #peer: Peer
  readonly #headers: Readonly<Record<string, string>>
  readonly #connections: number
  readonly #gets: GetPool
  readonly #gate: Gate
  #careful: NodeClient | undefined
  #isClosed = false

  /** @throws {BlobError} BLOB_BAD_STORE: INVARIANT I2, no plaintext to another machine */
  constructor(url: URL, options: HttpOptions) {
    this.#peer = peerOf(url, options)
    this.origin = url.origin
    this.#headers = options.headers ?? {}
    this.#connections = options.connections ?? 16
    this.#gate = new Gate(this.#connections)
    this.#gets = new GetPool({
      origin: url.origin,
      host: url.host,
      open: (onread) => connectTo(this.#peer, onread),
    })
  }

  /** @throws {BlobError} BLOB_UNAVAILABLE, BLOB_WRONG_ANSWER, BLOB_BAD_STORE, BLOB_DENIED; the reason of the signal */
  async exchange(request: HttpRequest): Promise<HttpAnswer> {
    return this.#gate.run(() => this.#exchange(request), request.signal)
  }

  async #exchange(request: HttpRequest): Promise<HttpAnswer> {
    if (this.#isClosed) throw new BlobError('BLOB_BAD_STORE', 'the store is closed')
    if (this.#gets.isFit(request)) {
      const answer = await this.#get(request)
      if (answer !== undefined) return answer
    }
    this.#careful ??= new NodeClient(this.#peer, this.#headers, this.#connections)
    return this.#careful.exchange(request)
  }

  [Symbol.dispose](): void {
    this.#isClosed = true
    this.#gets.close()
    this.#careful?.[Symbol.dispose]()
  }

  async #get(request: HttpRequest): Promise<HttpAnswer | undefined> {
    try {
      return await this.#gets.get(request, { ...this.#headers, ...request.headers }, deadlineMs(request))
    } catch (error) {
      if (request.signal?.aborted) throw request.signal.reason
      throw transportError(error, this.origin)
    }
  }
}
