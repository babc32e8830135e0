import { ByteRuns, type Piece } from '../byte-runs.ts'
import { maximumPayloadBytes, NBD_CMD, NBD_REQUEST_MAGIC } from '../constants.ts'
import { NbdError } from '../nbd-error.ts'
import { type Refusal, refusalOf } from './refusal.ts'
import type { Session } from './session.ts'

/** A request as it is on the wire. */
export interface RequestHeader {
  /** NBD_CMD_FLAG bits. */
  readonly flags: number
  /** NBD_CMD number, perhaps one that nobody knows. */
  readonly type: number
  /** Chosen by the client, opaque; its replies carry it. */
  readonly cookie: bigint
  readonly offset: bigint
  /** Bytes. */
  readonly length: number
}

export interface Request extends RequestHeader {
  /** NBD_CMD_WRITE only; may be a view of the piece it came in. */
  readonly payload: Uint8Array | undefined
  /** Why it must not be carried out; its payload has been thrown away. */
  readonly refusal: Refusal | undefined
}

const headerBytes = 28

/**
 * Spec: proto.md "Request message": magic u32 | flags u16 | type u16 | cookie u64 | offset u64 | length u32
 *
 * @param view holds 28 bytes at `at`
 * @throws {NbdError} NBD_BAD_MAGIC
 */
export function decodeRequestHeader(view: DataView, at: number): RequestHeader {
  const magic = view.getUint32(at)
  if (magic !== NBD_REQUEST_MAGIC)
    throw new NbdError('NBD_BAD_MAGIC', `expected a request, got the magic number ${magic.toString(16)}`)
  return {
    flags: view.getUint16(at + 4),
    type: view.getUint16(at + 6),
    cookie: view.getBigUint64(at + 8),
    offset: view.getBigUint64(at + 16),
    length: view.getUint32(at + 24),
  }
}

type State = { readonly kind: 'header' } | { readonly kind: 'payload'; readonly header: RequestHeader } | Skip

/** The payload of a write that is refused. */
interface Skip {
  readonly kind: 'skip'
  readonly header: RequestHeader
  readonly refusal: Refusal
  left: number
}

const header: State = { kind: 'header' }

/**
 * Reads requests from the pieces of a stream, one at a time, so that whoever asks can stop at any of them. Holds at
 * most one payload.
 */
export class RequestStream {
  readonly #session: Session
  readonly #runs = new ByteRuns()
  #state: State = header

  constructor(session: Session) {
    this.#session = session
  }

  /**
   * @returns undefined when the piece is used up
   * @throws {NbdError} NBD_BAD_MAGIC, NBD_TOO_LONG: the connection must be dropped
   */
  next(piece: Piece): Request | undefined {
    const state = this.#state
    switch (state.kind) {
      case 'header':
        return this.#next(piece)
      case 'payload':
        return this.#payload(piece, state.header)
      default:
        return this.#skip(piece, state)
    }
  }

  #next(piece: Piece): Request | undefined {
    const request = this.#header(piece)
    if (!request) return undefined
    const refusal = refusalOf(request, this.#session)
    if (request.type !== NBD_CMD.WRITE) return { ...request, payload: undefined, refusal }
    this.#state = expectPayload(request, refusal)
    return this.next(piece)
  }

  #header(piece: Piece): RequestHeader | undefined {
    if (!this.#runs.partial && piece.left >= headerBytes) {
      piece.at += headerBytes
      return decodeRequestHeader(piece.view, piece.at - headerBytes)
    }
    const run = this.#runs.take(piece, headerBytes)
    return run && decodeRequestHeader(new DataView(run.buffer, run.byteOffset), 0)
  }

  #payload(piece: Piece, request: RequestHeader): Request | undefined {
    const payload = this.#runs.take(piece, request.length)
    if (!payload) return undefined
    this.#state = header
    return { ...request, payload, refusal: undefined }
  }

  #skip(piece: Piece, state: Skip): Request | undefined {
    const skipped = Math.min(state.left, piece.left)
    piece.at += skipped
    state.left -= skipped
    if (state.left > 0) return undefined
    this.#state = header
    return { ...state.header, payload: undefined, refusal: state.refusal }
  }
}

function expectPayload(header: RequestHeader, refusal: Refusal | undefined): State {
  if (header.length > maximumPayloadBytes)
    throw new NbdError(
      'NBD_TOO_LONG',
      `expected to write at most ${maximumPayloadBytes} bytes, got ${header.length}`,
    )
  return refusal ? { kind: 'skip', header, refusal, left: header.length } : { kind: 'payload', header }
}
