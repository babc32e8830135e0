import type { OnReadOpts, Socket } from 'node:net'
import { BlobError } from '#core/blobs/index.ts'
import { fitsRange } from './range-head.ts'

/** What is asked of one connection. */
export interface RangeRequest {
  /** The whole request, up to the empty line. */
  readonly head: string
  readonly offset: number
  readonly length: number
  /** For the whole answer. */
  readonly deadlineMs: number
  readonly signal?: AbortSignal | undefined
}

/**
 * How a request ended: with the bytes; `stale` when the server had closed the kept connection before it answered;
 * `other` when the answer was not the one expected, whatever it was.
 */
export type RangeResult = Uint8Array | 'stale' | 'other'

interface Pending {
  readonly request: RangeRequest
  readonly finish: (result: RangeResult) => void
  readonly fail: (error: unknown) => void
  /** Of the answer, as long as it has not ended. */
  headText: string
  bytes: Uint8Array | undefined
  received: number
}

const scratchBytes = 65_536
const maximumHead = 16_384

/**
 * One connection that knows a single answer of HTTP/1.1: status 206, the range that was asked for, and its length.
 *
 * Node's own client makes an object, a buffer and several events of every 16 KiB that TLS delivers. Here they land in
 * one buffer that is used again and are copied into their place, which costs about a third of the processor's time.
 */
export class RangeConnection {
  readonly #socket: Socket
  readonly #scratch = Buffer.allocUnsafeSlow(scratchBytes)
  readonly #origin: string
  #pending: Pending | undefined
  #isUsed = false
  #error: unknown

  /** @param onGone is called once, when it cannot be used any more */
  constructor(open: (onread: OnReadOpts) => Socket, origin: string, onGone: () => void) {
    this.#origin = origin
    const callback = (length: number) => this.#data(length)
    this.#socket = open({ buffer: this.#scratch, callback })
    this.#socket.setNoDelay(true)
    this.#socket.on('error', (error) => {
      this.#error = error
    })
    this.#socket.on('timeout', () => this.#fail(silent(origin)))
    this.#socket.on('end', () => this.#socket.destroy())
    this.#socket.on('close', () => {
      onGone()
      this.#ended()
    })
  }

  get isUsable(): boolean {
    return !this.#socket.destroyed
  }

  /** One at a time. @throws what the socket meets; BLOB_UNAVAILABLE when it is silent or ends; the signal's reason */
  get(request: RangeRequest): Promise<RangeResult> {
    const { promise, resolve, reject } = Promise.withResolvers<RangeResult>()
    const { signal, deadlineMs } = request
    const deadline = setTimeout(() => this.#fail(silent(this.#origin)), deadlineMs)
    const abort = () => this.#fail(signal?.reason)
    const done = () => {
      clearTimeout(deadline)
      signal?.removeEventListener('abort', abort)
      this.#pending = undefined
      this.#isUsed = true
      this.#socket.unref()
    }
    this.#pending = {
      request,
      finish: (result) => {
        done()
        resolve(result)
      },
      fail: (error) => {
        done()
        reject(error)
      },
      headText: '',
      bytes: undefined,
      received: 0,
    }
    signal?.addEventListener('abort', abort, { once: true })
    this.#socket.ref()
    this.#socket.write(request.head, 'latin1')
    return promise
  }

  close(): void {
    this.#socket.destroy()
  }

  /** @returns whether to go on reading */
  #data(length: number): boolean {
    const pending = this.#pending
    if (pending === undefined) {
      this.#socket.destroy()
      return false
    }
    if (pending.bytes !== undefined) return this.#body(pending, pending.bytes, 0, length)
    pending.headText += this.#scratch.toString('latin1', 0, length)
    const end = pending.headText.indexOf('\r\n\r\n')
    if (end < 0 || end > maximumHead) return pending.headText.length <= maximumHead || this.#other(pending)
    const { request, headText } = pending
    if (!fitsRange(headText.slice(0, end), request.offset, request.length)) return this.#other(pending)
    // Not from the pool: a view of that would keep all of it alive.
    pending.bytes = Buffer.allocUnsafeSlow(request.length)
    return this.#body(pending, pending.bytes, length - (headText.length - end - 4), length)
  }

  #body(pending: Pending, bytes: Uint8Array, from: number, to: number): boolean {
    const { length } = pending.request
    if (pending.received + to - from > length) return this.#other(pending)
    bytes.set(this.#scratch.subarray(from, to), pending.received)
    pending.received += to - from
    if (pending.received === length) pending.finish(bytes)
    return true
  }

  #other(pending: Pending): boolean {
    pending.finish('other')
    this.#socket.destroy()
    return false
  }

  #fail(error: unknown): void {
    if (this.#pending === undefined) return
    this.#pending.fail(error)
    this.#socket.destroy()
  }

  #ended(): void {
    const pending = this.#pending
    if (pending === undefined) return
    if (this.#isUsed && pending.headText === '') pending.finish('stale')
    else if (pending.headText !== '' && pending.bytes === undefined) pending.finish('other')
    else pending.fail(this.#error ?? cutOff(this.#origin))
  }
}

function silent(origin: string): BlobError {
  return new BlobError('BLOB_UNAVAILABLE', `${origin} has not answered for too long`)
}

function cutOff(origin: string): BlobError {
  return new BlobError('BLOB_UNAVAILABLE', `${origin} ended the connection within an answer`)
}
