import type { Duplex } from 'node:stream'
import { setFlagsFromString } from 'node:v8'
import {
  NBD_CMD,
  NBD_ERROR,
  Piece,
  type Refusal,
  ReplyEncoder,
  type Request,
  RequestStream,
  type Session,
} from '#core/nbd/index.ts'
import { NbdServerError } from './nbd-server-error.ts'
import { bytesHeld, type Performing, perform, performNow, refuse } from './perform.ts'

/** No further request is taken while this much is in flight, so that memory is bounded by it and one request more. */
const inFlightBytes = 16_777_216
/** Once it was, none is taken until this much is left: many then come in one piece, instead of each by itself. */
const resumeBytes = 12_582_912
/** Shorter parts of a reply are headers, or not worth while. */
const leastDataBytes = 512
/** So many parts leave at once, so that the client reads them while the next ones are made. */
const batchParts = 64
/** What a request costs beside its data. */
const requestCost = 4096

/**
 * The transmission phase of one connection. Requests run concurrently and are answered as they finish; replies that
 * finish together leave in one write.
 *
 * INVARIANT: bytes in flight, from the request's arrival until the system has taken its reply, stay below
 * `inFlightBytes` and one request more; a client that does not read its replies is not read from.
 */
export class Transmission {
  readonly #stream: Duplex
  readonly #refusalOf: (error: unknown) => Refusal
  readonly #requests: RequestStream
  readonly #performing: Performing
  readonly #abort = new AbortController()
  readonly #ended = Promise.withResolvers<void>()
  #piece: Piece | undefined
  #inFlight = 0
  /** Where the client stands: sending, told that the server closes, or gone silent. */
  #phase: 'open' | 'closing' | 'finished' = 'open'
  #batch: Uint8Array[] = []
  #batchCost = 0

  /** @param refusalOf what a client is told of an error of the device */
  constructor(stream: Duplex, session: Session, refusalOf: (error: unknown) => Refusal) {
    keepYoung()
    this.#stream = stream
    this.#refusalOf = refusalOf
    this.#requests = new RequestStream(session)
    this.#performing = { session, encoder: new ReplyEncoder(), signal: this.#abort.signal }
  }

  /**
   * Serves until the client leaves or the server closes. Everything taken has been answered then, or nobody is left
   * to hear. Does not end the stream.
   *
   * @param rest what came behind the handshake
   * @throws {NbdError} the client broke the protocol
   */
  async run(rest: Uint8Array): Promise<void> {
    const stream = this.#stream
    stream.on('data', (bytes: Uint8Array) => this.#take(bytes))
    stream.once('end', () => this.#finish())
    stream.once('close', () => this.#ended.resolve())
    if (stream.destroyed) this.#ended.resolve()
    this.#take(rest)
    try {
      await this.#ended.promise
    } finally {
      this.#phase = 'finished'
      this.abort()
    }
  }

  /** Answers what is in flight, refuses what still comes, then lets `run` return. */
  close(): void {
    if (this.#phase === 'open') this.#phase = 'closing'
    this.#endWhenIdle()
  }

  /** Has the device give up what is in flight. */
  abort(): void {
    this.#abort.abort(new NbdServerError('NBD_CLOSING', 'the connection is closing'))
  }

  #take(bytes: Uint8Array): void {
    this.#piece = new Piece(bytes)
    this.#pull()
  }

  /** Takes requests as long as there is room for them. */
  #pull(): void {
    try {
      while (this.#piece && this.#phase !== 'finished' && this.#inFlight < inFlightBytes) {
        const request = this.#requests.next(this.#piece)
        if (request) this.#accept(request)
        else this.#piece = undefined
      }
    } catch (error) {
      this.#phase = 'finished'
      this.#ended.reject(error)
    }
    if (this.#piece) this.#stream.pause()
    else if (this.#stream.isPaused()) this.#stream.resume()
  }

  #accept(request: Request): void {
    if (request.type === NBD_CMD.DISC && !request.refusal) {
      this.#finish()
      return
    }
    const cost = requestCost + bytesHeld(request)
    this.#inFlight += cost
    const refusal = this.#phase === 'closing' ? shuttingDown : request.refusal
    if (refusal) {
      this.#reply([refuse(request, refusal, this.#performing)], cost)
      return
    }
    const ready = performNow(request, this.#performing)
    if (ready !== undefined) {
      this.#reply(ready, cost)
      return
    }
    perform(request, this.#performing).then(
      (parts) => this.#reply(parts, cost),
      (error: unknown) => {
        const refusal = this.#abort.signal.aborted ? shuttingDown : this.#refusalOf(error)
        this.#reply([refuse(request, refusal, this.#performing)], cost)
      },
    )
  }

  #reply(parts: readonly Uint8Array[], cost: number): void {
    // Everything else that is ready by then joins the same write.
    if (this.#batch.length === 0) process.nextTick(() => this.#flush())
    for (const part of parts) this.#batch.push(part)
    this.#batchCost += cost
    if (this.#batch.length >= batchParts) this.#flush()
  }

  #flush(): void {
    const [stream, batch, cost] = [this.#stream, this.#batch, this.#batchCost]
    const last = batch.at(-1)
    if (last === undefined) return
    this.#batch = []
    this.#batchCost = 0
    stream.cork()
    for (const part of batch.slice(0, -1)) stream.write(part)
    // The stream calls back in order: the last stands for all before it.
    stream.write(last, (error) => {
      if (!error) this.#done(batch)
      this.#release(cost)
    })
    stream.uncork()
  }

  /** Data was sent: the device may use its memory again. */
  #done(parts: readonly Uint8Array[]): void {
    const { device } = this.#performing.session.export
    for (const part of parts) if (part.length >= leastDataBytes) device.done?.(part)
  }

  #release(cost: number): void {
    this.#inFlight -= cost
    this.#endWhenIdle()
    if (this.#piece && this.#inFlight < resumeBytes) this.#pull()
  }

  /** The client sends nothing more. */
  #finish(): void {
    this.#phase = 'finished'
    this.#endWhenIdle()
  }

  #endWhenIdle(): void {
    if (this.#phase !== 'open' && this.#inFlight === 0) this.#ended.resolve()
  }
}

/**
 * Of each part that it has not sent the stream keeps an object. Once V8 has seen those live for long, as behind a slow reader, it makes
 * them old from the start, for as long as the process lives, and whatever they name then lives until all of the heap is looked through:
 * a fifth of the speed. Not by the command line, where it would have Node compile its own modules anew at each start.
 */
function keepYoung(): void {
  setFlagsFromString('--no-allocation-site-pretenuring')
}

const shuttingDown: Refusal = { error: NBD_ERROR.ESHUTDOWN, message: 'the server is shutting down' }
