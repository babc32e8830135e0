import type { IncomingMessage } from 'node:http'
import { BlobError } from '#core/blobs/index.ts'
import { parseContentRange } from './content-range.ts'
import { type HttpAnswer, type HttpRange, type HttpRequest, maximumErrorBytes } from './http-message.ts'

const empty = new Uint8Array(0)

/** Takes in the body of one answer: a range into its place, anything else piece by piece up to its limit. */
export class Receiver {
  readonly #request: HttpRequest
  readonly #response: IncomingMessage
  readonly #status: number

  constructor(request: HttpRequest, response: IncomingMessage) {
    this.#request = request
    this.#response = response
    this.#status = response.statusCode ?? 0
  }

  /** Calls one of both once; the caller closes the connection of what failed. */
  receive(succeed: (answer: HttpAnswer) => void, fail: (error: unknown) => void): void {
    const response = this.#response
    let take: (chunk: Uint8Array) => boolean
    let finish: () => Uint8Array
    try {
      ;({ take, finish } = this.#sink())
    } catch (error) {
      fail(error)
      return
    }
    const end = () => {
      try {
        succeed({ status: this.#status, headers: fieldsOf(response), body: finish() })
      } catch (error) {
        fail(error)
      }
    }
    response.on('data', (chunk: Uint8Array) => {
      try {
        if (take(chunk)) return
        // Enough of an error was heard: the rest, and with it the connection, is given up.
        end()
        response.destroy()
      } catch (error) {
        fail(error)
      }
    })
    // Some registries promise all of a blob in an error, and break off after a line of text: enough was heard.
    const broken = (error: unknown) => (this.#status >= 300 ? end() : fail(error))
    response.on('end', end)
    response.on('error', broken)
    response.on('close', () => {
      if (!response.complete)
        broken(new BlobError('BLOB_UNAVAILABLE', 'the connection ended within an answer'))
    })
  }

  #sink(): { take: (chunk: Uint8Array) => boolean; finish: () => Uint8Array } {
    const { range, method, maximumBytes } = this.#request
    if (method === 'HEAD') return { take: () => false, finish: () => empty }
    requireNoEncoding(this.#response)
    if (range !== undefined && this.#status === 206) return this.#rangeSink(range)
    // Of a whole blob instead of a range, nothing but the status is wanted.
    const isUnasked = range !== undefined || this.#status >= 300
    return collector(Math.min(maximumBytes, isUnasked ? maximumErrorBytes : maximumBytes), isUnasked)
  }

  #rangeSink(range: HttpRange): {
    take: (chunk: Uint8Array) => boolean
    finish: () => Uint8Array
  } {
    requireRange(this.#response, range)
    // Not from the pool: a view of that would keep all of it alive.
    const bytes = Buffer.allocUnsafeSlow(range.length)
    let received = 0
    return {
      take(chunk) {
        if (received + chunk.length > range.length) throw wrongLength(range.length, received + chunk.length)
        bytes.set(chunk, received)
        received += chunk.length
        return true
      },
      finish() {
        if (received !== range.length) throw wrongLength(range.length, received)
        return bytes
      },
    }
  }
}

function fieldsOf({ headers }: IncomingMessage): HttpAnswer['headers'] {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))
}

function collector(
  maximum: number,
  isCut: boolean,
): { take: (chunk: Uint8Array) => boolean; finish: () => Uint8Array } {
  const chunks: Uint8Array[] = []
  let received = 0
  return {
    take(chunk) {
      received += chunk.length
      if (received <= maximum) return chunks.push(chunk) > 0
      if (isCut) return false
      throw new BlobError(
        'BLOB_WRONG_ANSWER',
        `expected an answer of at most ${maximum} bytes, got more than ${received}`,
      )
    },
    finish: () => Buffer.concat(chunks),
  }
}

/** RFC 9110 14.4. Several ranges in one answer have no Content-Range, so they are refused, too. */
function requireRange({ headers }: IncomingMessage, { offset, length }: HttpRange): void {
  const got = parseContentRange(headers['content-range'] ?? '')
  if (got?.first !== offset || got.last !== offset + length - 1) {
    throw new BlobError(
      'BLOB_WRONG_ANSWER',
      `expected bytes ${offset} to ${offset + length - 1}, got Content-Range ${JSON.stringify(headers['content-range']) ?? 'none'}`,
    )
  }
  const said = headers['content-length']
  if (said !== undefined && Number(said) !== length) throw wrongLength(length, Number(said))
}

function requireNoEncoding({ headers }: IncomingMessage): void {
  const encoding = headers['content-encoding'] ?? 'identity'
  if (encoding === 'identity') return
  throw new BlobError(
    'BLOB_WRONG_ANSWER',
    `expected bytes as they are stored, got them as ${encoding.slice(0, 40)}`,
  )
}

function wrongLength(expected: number, got: number): BlobError {
  return new BlobError('BLOB_WRONG_ANSWER', `expected ${expected} bytes, got ${got}`)
}
