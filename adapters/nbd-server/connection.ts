import type { Duplex } from 'node:stream'
import type { TlsOptions } from 'node:tls'
import { greeting, Handshake, type HandshakeNext, type NbdExport, type Refusal } from '#core/nbd/index.ts'
import { NbdServerError } from './nbd-server-error.ts'
import { Transmission } from './transmission.ts'

export interface ConnectionOptions {
  readonly exports: readonly NbdExport[]
  /** What a client is told of an error of a device. */
  readonly refusalOf: (error: unknown) => Refusal
  /** When given, clients must begin TLS before anything else. Asked anew each time, so that a certificate may change. */
  readonly tls?: (() => TlsOptions) | undefined
}

const handshakeTimeoutMs = 10_000
/** How long a client may take to close its end. */
const partingMs = 1000

/** One client, from the greeting to the end of the connection. */
export class Connection {
  readonly #options: ConnectionOptions
  #stream: Duplex
  #transmission: Transmission | undefined

  constructor(stream: Duplex, options: ConnectionOptions) {
    this.#stream = stream
    this.#options = options
  }

  /**
   * Serves the client; the stream is closed when it returns or throws.
   *
   * @throws {NbdError} {NbdServerError} the client was dropped
   */
  async run(): Promise<void> {
    try {
      const next = await this.#handshake()
      if (next.kind === 'transmission') {
        this.#transmission = new Transmission(this.#stream, next.session, this.#options.refusalOf)
        await this.#transmission.run(next.rest)
      }
      await part(this.#stream)
    } finally {
      this.#stream.destroy()
    }
  }

  /** Answers what is in flight and lets `run` return. */
  close(): void {
    if (this.#transmission) this.#transmission.close()
    else this.#stream.destroy()
  }

  /** Gives up what is in flight. */
  abort(): void {
    this.#transmission?.abort()
  }

  destroy(): void {
    this.#stream.destroy()
  }

  async #handshake(): Promise<HandshakeNext> {
    const { exports, tls } = this.#options
    const timeout = setTimeout(() => this.#stream.destroy(tooSlow()), handshakeTimeoutMs)
    try {
      const handshake = new Handshake(exports, tls !== undefined)
      this.#stream.on('error', ignore)
      this.#stream.write(greeting)
      // Not at the start, since most serve without it; nor later, since nothing may be read between.
      const secured = tls && (await import('./tls.ts'))
      const next = await negotiate(this.#stream, handshake)
      if (next.kind !== 'starttls' || !tls || !secured) return next
      this.#stream = await secured.startTls(this.#stream, tls())
      this.#stream.on('error', ignore)
      return await negotiate(this.#stream, handshake)
    } finally {
      clearTimeout(timeout)
    }
  }
}

/** Feeds the handshake until it is over or goes on under TLS. */
async function negotiate(stream: Duplex, handshake: Handshake): Promise<HandshakeNext> {
  for await (const bytes of stream.iterator({ destroyOnReturn: false })) {
    const { send, next } = handshake.feed(bytes as Uint8Array)
    if (send.length > 0) stream.write(send)
    if (next.kind !== 'more') return next
  }
  return { kind: 'end' }
}

/** Ends our side, and waits a moment for the client to end its own: what was written last arrives then. */
async function part(stream: Duplex): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    stream.once('close', resolve)
    setTimeout(resolve, partingMs).unref()
  })
  if (stream.destroyed) return
  stream.removeAllListeners('data')
  stream.end()
  stream.resume()
  await closed
}

function tooSlow(): NbdServerError {
  return new NbdServerError(
    'NBD_HANDSHAKE_TIMEOUT',
    `expected the handshake to take less than ${handshakeTimeoutMs / 1000} s`,
  )
}

/** A broken connection shows itself by its end; without a listener the error would end the process. */
function ignore(): void {}
