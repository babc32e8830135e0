import { constants } from 'node:crypto'
import type { Agent, ClientRequest, OutgoingHttpHeaders } from 'node:http'
import https from 'node:https'
import { connect as connectTcp, isIP, type OnReadOpts, type Socket } from 'node:net'
import { connect as connectTls, createSecureContext, getCACertificates, type SecureContext } from 'node:tls'
import { BlobError, requireConfidential } from '#core/blobs/index.ts'
import { Gate } from './gate.ts'
import { GetPool } from './get-pool.ts'
import type { HttpAnswer, HttpRequest } from './http-message.ts'
import { http } from './node-http.ts'
import { Receiver } from './receiver.ts'
import { transportError } from './transport-error.ts'

export interface HttpOptions {
  /** Certificates of authorities, PEM, that are trusted instead of this machine's own. */
  readonly ca?: string
  /** Certificate chain and private key, PEM, that prove who asks. */
  readonly identity?: { readonly chainPem: string; readonly privateKeyPem: string }
  /** Sent with each request to the store, and to nobody else. */
  readonly headers?: Readonly<Record<string, string>>
  /** How many requests are under way at once at most; 16 without. */
  readonly connections?: number
  /** For how long a connection may be silent while an answer is expected; 20 seconds without. */
  readonly idleMs?: number
}

/**
 * A peer that sends less than this for long is as good as gone. Of one connection: all that ask at once share a line, and
 * must not give up on it together when it is a slow one.
 */
const slowestBytesPerMs = 4
const leastTotalMs = 60_000

/**
 * HTTP/1.1 to one origin, over connections that stay open. With TLS only version 1.3, and never a session again.
 *
 * What is read is asked of `GetPool`, which understands plain answers only. When another one comes, the request is made
 * again through Node's client, which is slower and knows them all.
 */
export class HttpClient implements Disposable {
  readonly origin: string
  readonly #options: HttpOptions
  readonly #fixed: https.RequestOptions
  readonly #send: (options: https.RequestOptions) => ClientRequest
  readonly #connections: number
  readonly #gets: GetPool
  readonly #gate: Gate
  #context: SecureContext | undefined
  #agent: Agent | undefined
  #isClosed = false

  /** @throws {BlobError} BLOB_BAD_STORE: INVARIANT I2, no plaintext to another machine */
  constructor(url: URL, options: HttpOptions) {
    requireConfidential(url)
    this.origin = url.origin
    this.#options = options
    this.#connections = options.connections ?? 16
    this.#send = url.protocol === 'https:' ? https.request : http.request
    this.#fixed = {
      protocol: url.protocol,
      host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
      port: url.port === '' ? null : Number(url.port),
      timeout: options.idleMs ?? 20_000,
    }
    this.#gate = new Gate(this.#connections)
    this.#gets = new GetPool({
      origin: url.origin,
      host: url.host,
      open: (onread) => this.#connect(onread),
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
    for (let stale = 0; ; stale++) {
      request.signal?.throwIfAborted()
      const answer = await this.#exchangeOnce(request, stale <= this.#connections)
      if (answer !== undefined) return answer
    }
  }

  [Symbol.dispose](): void {
    this.#isClosed = true
    this.#agent?.destroy()
    this.#gets.close()
  }

  async #get(request: HttpRequest): Promise<HttpAnswer | undefined> {
    try {
      return await this.#gets.get(request, { ...this.#options.headers, ...request.headers }, totalMs(request))
    } catch (error) {
      if (request.signal?.aborted) throw request.signal.reason
      throw transportError(error, this.origin)
    }
  }

  #connect(onread: OnReadOpts): Socket {
    const { host = '', port, timeout = 0, protocol } = this.#fixed
    const isTls = protocol === 'https:'
    const address = { host: host ?? '', port: Number(port ?? (isTls ? 443 : 80)), timeout, onread }
    const socket = isTls
      ? connectTls({
          ...address,
          secureContext: this.#secureContext(),
          rejectUnauthorized: true,
          servername: isIP(address.host) === 0 ? address.host : '',
          ALPNProtocols: ['http/1.1'],
        })
      : connectTcp(address)
    this.#limitConnecting(socket)
    return socket
  }

  /** Of a connection that is being made Node overlooks the first silence: what waits for it counts as being written. */
  #limitConnecting(socket: Socket): void {
    const limit = setTimeout(() => socket.destroy(silent(this.origin)), this.#fixed.timeout)
    const clear = () => clearTimeout(limit)
    socket.once(this.#fixed.protocol === 'https:' ? 'secureConnect' : 'connect', clear).once('close', clear)
  }

  #secureContext(): SecureContext {
    this.#context ??= secureContext(this.#options)
    return this.#context
  }

  /** @returns undefined when the server had closed a kept connection before it saw the request: ask again */
  #exchangeOnce(request: HttpRequest, mayRepeat: boolean): Promise<HttpAnswer | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer | undefined>()
    const { signal, method } = request
    let outgoing: ClientRequest
    try {
      outgoing = this.#begin(request)
    } catch (error) {
      throw transportError(error, this.origin)
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
      else reject(transportError(error, this.origin))
      outgoing.destroy()
    }
    const abort = () => fail(signal?.reason)
    signal?.addEventListener('abort', abort, { once: true })
    outgoing.on('error', fail)
    outgoing.on('timeout', () => fail(silent(this.origin)))
    outgoing.on('socket', (socket) => {
      if (!outgoing.reusedSocket) this.#limitConnecting(socket)
      // From here on, not while it waits for a connection that others use.
      deadline ??= setTimeout(() => fail(silent(this.origin)), totalMs(request))
    })
    outgoing.on('response', (response) => {
      hasAnswer = true
      new Receiver(request, response).receive((answer) => {
        done()
        resolve(answer)
      }, fail)
    })
    outgoing.end(request.body)
    return promise
  }

  #begin({ method, path, headers, body, range }: HttpRequest): ClientRequest {
    const all: OutgoingHttpHeaders = { ...this.#options.headers, ...headers, 'accept-encoding': 'identity' }
    if (range !== undefined) all['range'] = `bytes=${range.offset}-${range.offset + range.length - 1}`
    if (body !== undefined || method === 'POST') all['content-length'] = body?.length ?? 0
    this.#agent ??= this.#newAgent()
    return this.#send({ ...this.#fixed, agent: this.#agent, method, path, headers: all })
  }

  #newAgent(): Agent {
    const options = { keepAlive: true, maxSockets: this.#connections, maxFreeSockets: this.#connections }
    if (this.#fixed.protocol === 'http:') return new http.Agent(options)
    return new OneOriginAgent({
      ...options,
      secureContext: this.#secureContext(),
      rejectUnauthorized: true,
      maxCachedSessions: 0,
    })
  }
}

/** All its connections are alike: Node would compare certificates and keys for each request. */
class OneOriginAgent extends https.Agent {
  override getName(): string {
    return ''
  }
}

/** Of every store that the machine's own authorities vouch for: reading these takes longer than connecting. */
let machineContext: SecureContext | undefined

function secureContext(options: HttpOptions): SecureContext {
  if (options.ca !== undefined || options.identity !== undefined) return newSecureContext(options)
  machineContext ??= newSecureContext({})
  return machineContext
}

function newSecureContext({ ca, identity }: HttpOptions): SecureContext {
  const system = ca === undefined ? getCACertificates('system') : []
  return createSecureContext({
    minVersion: 'TLSv1.3',
    secureOptions: constants.SSL_OP_NO_TICKET,
    // Without any of the machine's own, those that come with Node.
    ...(ca === undefined ? system.length > 0 && { ca: system } : { ca }),
    ...(identity && { cert: identity.chainPem, key: identity.privateKeyPem }),
  })
}

function totalMs({ body, range, maximumBytes }: HttpRequest): number {
  return leastTotalMs + (body?.length ?? range?.length ?? maximumBytes) / slowestBytesPerMs
}

function silent(origin: string): BlobError {
  return new BlobError('BLOB_UNAVAILABLE', `${origin} has not answered for too long`)
}
