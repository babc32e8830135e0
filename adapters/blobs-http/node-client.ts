import type { Agent, ClientRequest, OutgoingHttpHeaders } from 'node:http'
import https from 'node:https'
import { BlobError } from '#core/blobs/index.ts'
import { deadlineMs, limitConnecting, type Peer, silent } from './connecting.ts'
import type { HttpAnswer, HttpRequest } from './http-message.ts'
import { http } from './node-http.ts'
import { Receiver } from './receiver.ts'
import { transportError } from './transport-error.ts'

/** Asks through Node's client, which knows every kind of answer, over connections that stay open. */
export class NodeClient implements Disposable {
  readonly #peer: Peer
  readonly #headers: Readonly<Record<string, string>>
  readonly #connections: number
  readonly #agent: Agent

  /** @param headers of each request */
  constructor(peer: Peer, headers: Readonly<Record<string, string>>, connections: number) {
    this.#peer = peer
    this.#headers = headers
    this.#connections = connections
    const options = { keepAlive: true, maxSockets: connections, maxFreeSockets: connections }
    this.#agent =
      peer.secureContext === undefined
        ? new http.Agent(options)
        : new OneOriginAgent({
            ...options,
            secureContext: peer.secureContext(),
            rejectUnauthorized: true,
            maxCachedSessions: 0,
          })
  }

  /** @throws {BlobError} as `HttpClient.exchange`; the reason of the signal */
  async exchange(request: HttpRequest): Promise<HttpAnswer> {
    for (let stale = 0; ; stale++) {
      request.signal?.throwIfAborted()
      const answer = await this.#exchangeOnce(request, stale <= this.#connections)
      if (answer !== undefined) return answer
    }
  }

  [Symbol.dispose](): void {
    this.#agent.destroy()
  }

  /** @returns undefined when the server had closed a kept connection before it saw the request: ask again */
  #exchangeOnce(request: HttpRequest, mayRepeat: boolean): Promise<HttpAnswer | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer | undefined>()
    const { signal, method } = request
    const { origin } = this.#peer
    let outgoing: ClientRequest
    try {
      outgoing = this.#begin(request)
    } catch (error) {
      throw transportError(error, origin)
    }
    let deadline: NodeJS.Timeout | undefined
    let hasAnswer = false
    const done = () => {
      clearTimeout(deadline)
      signal?.removeEventListener('abort', abort)
    }
    const fail = (error: unknown) => {
      done()
      const isStale = mayRepeat && outgoing.reusedSocket && !hasAnswer && method !== 'PUT'
      if (signal?.aborted) reject(signal.reason as Error)
      else if (isStale && !(error instanceof BlobError)) resolve(undefined)
      else reject(transportError(error, origin))
      outgoing.destroy()
    }
    const abort = () => fail(signal?.reason)
    signal?.addEventListener('abort', abort, { once: true })
    outgoing.on('error', fail)
    outgoing.on('timeout', () => fail(silent(origin)))
    outgoing.on('socket', (socket) => {
      if (!outgoing.reusedSocket) limitConnecting(socket, this.#peer)
      // From here on, not while it waits for a connection that others use.
      deadline ??= setTimeout(() => fail(silent(origin)), deadlineMs(request))
    })
    outgoing.on('response', (response) => {
      hasAnswer = true
      new Receiver(request, response).receive((answer) => {
        done()
        // It was answered early: whoever asked may use the body's memory again now.
        if (!outgoing.writableFinished) outgoing.destroy()
        resolve(answer)
      }, fail)
    })
    outgoing.end(request.body)
    return promise
  }

  #begin({ method, path, headers, body, range }: HttpRequest): ClientRequest {
    const all: OutgoingHttpHeaders = { ...this.#headers, ...headers, 'accept-encoding': 'identity' }
    if (range !== undefined) all['range'] = `bytes=${range.offset}-${range.offset + range.length - 1}`
    if (body !== undefined || method === 'POST') all['content-length'] = body?.length ?? 0
    const { host, port, idleMs, secureContext } = this.#peer
    const send = secureContext === undefined ? http.request : https.request
    return send({ host, port, timeout: idleMs, agent: this.#agent, method, path, headers: all })
  }
}

/** All its connections are alike: Node would compare certificates and keys for each request. */
class OneOriginAgent extends https.Agent {
  override getName(): string {
    return ''
  }
}
