import { concatBytes, Reader, Writer } from '#core/bytes/index.ts'
import { ByteRuns, Piece } from '../byte-runs.ts'
import {
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_MAGIC,
  NBD_OPT,
  NBD_OPTS_MAGIC,
} from '../constants.ts'
import { NbdError } from '../nbd-error.ts'
import type { NbdExport } from '../nbd-export.ts'
import type { Session } from '../transmission/session.ts'
import { answerOption, type TlsState } from './answer-option.ts'
import { exportName } from './opt-export-name.ts'
import { decodeOptionHeader, encodeOptionReply, type Negotiated, optionHeaderBytes } from './option.ts'

/** What to do after the replies have been sent. */
export type HandshakeNext =
  /** Feed what the client sends. */
  | { readonly kind: 'more' }
  /** Make a TLS server of the connection, then feed what comes out of it. */
  | { readonly kind: 'starttls' }
  /** The handshake is over; `rest` belongs to transmission. */
  | { readonly kind: 'transmission'; readonly session: Session; readonly rest: Uint8Array }
  /** Close the connection. */
  | { readonly kind: 'end' }

/** Sent first, before the client says anything. Spec: proto.md "Newstyle negotiation" */
export const greeting: Uint8Array = new Writer(18)
  .u64(NBD_MAGIC)
  .u64(NBD_OPTS_MAGIC)
  .u16(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)
  .finish()

const maximumOptions = 256
const nothing: Negotiated = { structured: false, allocationOf: undefined }

type State =
  | { readonly kind: 'client-flags' }
  | { readonly kind: 'option' }
  | { readonly kind: 'option-data'; readonly option: number; readonly length: number }

/**
 * The server's side of the fixed newstyle handshake.
 *
 * ```
 * client-flags ─▶ option ─▶ option-data ─┬─▶ transmission (EXPORT_NAME, GO)
 *                   ▲                    ├─▶ end (ABORT)
 *                   └────────────────────┴─▶ starttls ─▶ option, with nothing negotiated
 * ```
 *
 * Spec: proto.md "Handshake"
 */
export class Handshake {
  readonly #exports: readonly NbdExport[]
  readonly #runs = new ByteRuns()
  #tls: TlsState
  #state: State = { kind: 'client-flags' }
  #negotiated = nothing
  #fixed = false
  #noZeroes = false
  #optionsLeft = maximumOptions
  #replies: Uint8Array[] = []

  /** @param tls whether clients must begin TLS before anything else */
  constructor(exports: readonly NbdExport[], tls: boolean) {
    this.#exports = exports
    this.#tls = tls ? 'required' : 'none'
  }

  /**
   * Takes what the client sent, in pieces of any length. Not to be called again after `transmission` or `end`.
   *
   * @throws {NbdError} {BytesError} the connection must be dropped
   */
  feed(bytes: Uint8Array): { send: Uint8Array; next: HandshakeNext } {
    const piece = new Piece(bytes)
    let next: HandshakeNext | undefined = { kind: 'more' }
    while (next.kind === 'more') {
      const run = this.#runs.take(piece, this.#needed())
      if (!run) break
      next = this.#step(run)
    }
    if (next.kind === 'starttls' && piece.left > 0)
      throw new NbdError('NBD_BEFORE_TLS', `expected TLS, got ${piece.left} bytes together with its request`)
    if (next.kind === 'transmission') next = { ...next, rest: bytes.subarray(piece.at) }
    const send = concatBytes(...this.#replies)
    this.#replies = []
    return { send, next }
  }

  #needed(): number {
    switch (this.#state.kind) {
      case 'client-flags':
        return 4
      case 'option':
        return optionHeaderBytes
      default:
        return this.#state.length
    }
  }

  #step(run: Uint8Array): HandshakeNext {
    const state = this.#state
    this.#state = { kind: 'option' }
    switch (state.kind) {
      case 'client-flags':
        this.#takeClientFlags(new Reader(run).u32())
        return { kind: 'more' }
      case 'option':
        if (this.#optionsLeft-- === 0)
          throw new NbdError('NBD_TOO_MANY_OPTIONS', `expected at most ${maximumOptions} options`)
        this.#state = { kind: 'option-data', ...decodeOptionHeader(run) }
        return { kind: 'more' }
      default:
        return state.option === NBD_OPT.EXPORT_NAME ? this.#exportName(run) : this.#answer(state.option, run)
    }
  }

  #takeClientFlags(flags: number): void {
    if ((flags & ~(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)) !== 0)
      throw new NbdError('NBD_CLIENT_FLAGS', `expected client flags 0 to 3, got ${flags}`)
    this.#fixed = (flags & NBD_FLAG_FIXED_NEWSTYLE) !== 0
    this.#noZeroes = (flags & NBD_FLAG_NO_ZEROES) !== 0
  }

  #exportName(data: Uint8Array): HandshakeNext {
    if (this.#tls === 'required')
      throw new NbdError('NBD_TLS_REQUIRED', 'the client chose an export before TLS', {
        remedy: 'Let the client connect with TLS.',
      })
    const { structured } = this.#negotiated
    const { answer, export: chosen } = exportName(data, this.#exports, {
      structured,
      noZeroes: this.#noZeroes,
    })
    this.#replies.push(answer)
    return this.#transmission(chosen)
  }

  #answer(option: number, data: Uint8Array): HandshakeNext {
    if (!this.#fixed)
      throw new NbdError('NBD_OPTION', 'expected NBD_OPT_EXPORT_NAME of a client without fixed newstyle')
    // Choosing contexts forgets the earlier choice even if it fails.
    if (option === NBD_OPT.SET_META_CONTEXT)
      this.#negotiated = { ...this.#negotiated, allocationOf: undefined }
    const context = { exports: this.#exports, negotiated: this.#negotiated, tls: this.#tls }
    const {
      replies,
      negotiated = this.#negotiated,
      next = { kind: 'more' },
    } = answerOption(option, data, context)
    this.#negotiated = negotiated
    for (const reply of replies) this.#replies.push(encodeOptionReply(option, reply))
    if (next.kind === 'starttls') {
      this.#tls = 'active'
      this.#negotiated = nothing
    }
    return next.kind === 'transmission' ? this.#transmission(next.export) : next
  }

  #transmission(chosen: NbdExport): HandshakeNext {
    const { structured, allocationOf } = this.#negotiated
    const session = { export: chosen, structured, allocation: allocationOf === chosen }
    return { kind: 'transmission', session, rest: new Uint8Array(0) }
  }
}
