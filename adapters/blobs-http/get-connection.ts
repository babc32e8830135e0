import type { OnReadOpts, Socket } from 'node:net'
import { BlobError } from '#core/blobs/index.ts'
import { type AnswerHead, fitsRange, parseHead } from './answer-head.ts'
import { silent } from './connecting.ts'
import { type HttpAnswer, type HttpRange, maximumErrorBytes } from './http-message.ts'

/** What is asked of one connection. */
export interface GetRequest {
  /** The whole request, up to the empty line. */
  readonly head: string
  readonly range?: HttpRange | undefined
  /** Of the answer's body. */
  readonly maximumBytes: number
  /** For the whole answer. */
  readonly deadlineMs: number
  readonly signal?: AbortSignal | undefined
}

/**
 * How a request ended: with an answer; `stale` when the server had closed the kept connection before it answered;
 * `other` when the answer was not a plain one, whatever it was.
 */
export type GetResult = HttpAnswer | 'stale' | 'other'

interface Pending {
  readonly request: GetRequest
  readonly finish: (result: GetResult) => void
  readonly fail: (error: unknown) => void
  /** Of the answer, as long as it has not ended. */
  headText: string
  answer: { readonly head: AnswerHead; readonly body: Uint8Array } | undefined
  received: number
}

const scratchBytes = 65_536
const maximumHead = 16_384

/**
 * One connection that knows plain answers of HTTP/1.1 only: those that say their length and are as long as expected.
 *
 * Node's own client makes an object, a buffer and several events of every 16 KiB that TLS delivers. Here they land in
 * one buffer that is used again and are copied into their place, which costs about a third of the processor's time.
 * Its first request takes longer than a handshake, too.
 */
export class GetConnection {
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
  get(request: GetRequest): Promise<GetResult> {
    const { promise, resolve, reject } = Promise.withResolvers<GetResult>()
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
      answer: undefined,
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
    if (pending.answer !== undefined) return this.#body(pending, pending.answer, 0, length)
    pending.headText += this.#scratch.toString('latin1', 0, length)
    const end = pending.headText.indexOf('\r\n\r\n')
    if (end < 0 || end > maximumHead) return pending.headText.length <= maximumHead || this.#other(pending)
    const { request, headText } = pending
    const head = parseHead(headText.slice(0, end))
    if (head === undefined || !isExpected(head, request)) return this.#other(pending)
    // Not from the pool: a view of that would keep all of it alive.
    pending.answer = { head, body: Buffer.allocUnsafeSlow(head.length) }
    return this.#body(pending, pending.answer, length - (headText.length - end - 4), length)
  }

  #body(pending: Pending, { head, body }: NonNullable<Pending['answer']>, from: number, to: number): boolean {
    if (pending.received + to - from > head.length) return this.#other(pending)
    body.set(this.#scratch.subarray(from, to), pending.received)
    pending.received += to - from
    if (pending.received === head.length) this.#answer(pending, { head, body })
    return true
  }

  #answer({ finish, received }: Pending, { head, body }: NonNullable<Pending['answer']>): void {
    finish({ status: head.status, headers: head.headers, body: body.subarray(0, received) })
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
    const { headText, answer } = pending
    if (this.#isUsed && headText === '') pending.finish('stale')
    else if (headText !== '' && answer === undefined) pending.finish('other')
    // Some registries promise all of a blob in an error, and break off after a line of text: enough was heard.
    else if (answer !== undefined && !isGood(answer.head)) this.#answer(pending, answer)
    else pending.fail(this.#error ?? cutOff(this.#origin))
  }
}

function isExpected(head: AnswerHead, { range, maximumBytes }: GetRequest): boolean {
  if (head.status === 206) return range !== undefined && fitsRange(head, range)
  const isHopedFor = range === undefined && isGood(head)
  return head.length <= (isHopedFor ? maximumBytes : maximumErrorBytes)
}

function isGood({ status }: AnswerHead): boolean {
  return status < 300
}

function cutOff(origin: string): BlobError {
  return new BlobError('BLOB_UNAVAILABLE', `${origin} ended the connection within an answer`)
}
