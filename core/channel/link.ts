import type { CipherState } from './cipher-state.ts'
import { ChannelError } from './errors.ts'
import { decodeFrame, type Frame } from './frame.ts'
import { maximumMessageBytes } from './noise.ts'
import { listen, type Transport } from './transport.ts'

/** Messages after which each direction renews its key; both ends must agree. */
const defaultRekeyInterval = 2 ** 20
/** Bytes in the transport's own buffer above which nothing more is written: what waits there cannot be overtaken. */
const bufferedHigh = 1 << 20
/** Encryptions under way at once: enough to keep every thread of Web Crypto busy. */
const maximumInFlight = 32
/** Received bytes waiting for decryption. An honest end never has more than its replay buffer on the way. */
const maximumWaitingBytes = 24 << 20
const waitingOverhead = 256
const tagBytes = 16
const empty = new Uint8Array(0)
const silence: LinkEvents = { frame() {}, writable() {}, broken() {} }

export interface LinkEvents {
  /** In the order in which the other end wrote them. A `ChannelError` it throws breaks the link. */
  frame(frame: Frame): void
  /** There is room again. */
  writable(): void
  /** Once, never after `close`; no other event comes after it. */
  broken(error: ChannelError): void
}

/**
 * One transport after its handshake: every message is one record, the nth of its direction.
 *
 * Records are encrypted and decrypted concurrently, but leave and arrive strictly in order. The first record that is
 * not the next one of the other end breaks the link: nothing after it is believed.
 */
export class Link {
  readonly #transport: Transport
  readonly #rekeyInterval: number
  readonly #send: CipherState
  readonly #receive: CipherState
  readonly #queueOut: (work: Promise<Uint8Array>) => void
  readonly #queueIn: (work: Promise<Uint8Array>) => void
  #events: LinkEvents | undefined
  #inFlight = 0
  #waitingBytes = 0
  #finishing = false

  constructor(
    transport: Transport,
    ciphers: { readonly send: CipherState; readonly receive: CipherState },
    rekeyInterval: number = defaultRekeyInterval,
  ) {
    this.#transport = transport
    this.#rekeyInterval = rekeyInterval
    this.#send = ciphers.send
    this.#receive = ciphers.receive
    const fail = (error: unknown): void => this.#break(asChannelError(error))
    this.#queueOut = inOrder((message) => this.#sealed(message), fail)
    this.#queueIn = inOrder((plaintext) => this.#opened(plaintext), fail)
  }

  /** Says who listens, from now on. */
  listen(events: LinkEvents): void {
    this.#events = events
    listen(
      this.#transport,
      (message) => this.#message(message),
      // In its turn: what came before the end is still good.
      () => this.#queueIn(Promise.reject(new ChannelError('CHANNEL_TRANSPORT', 'the transport closed'))),
    )
  }

  /** False while encryptions or the transport's buffer are full. */
  get writable(): boolean {
    return this.#hasRoom(1)
  }

  /** The same for control frames, which must not starve behind a stream that fills every gap. */
  get writableControl(): boolean {
    return this.#hasRoom(2)
  }

  /** True when nothing is under way that would end in a `writable` event. */
  get idle(): boolean {
    return this.#inFlight === 0
  }

  /** @param frame must not change any more */
  write(frame: Uint8Array): void {
    if (this.#events === undefined || this.#finishing) return
    this.#inFlight += 1
    this.#queueOut(this.#send.encrypt(empty, frame))
    if (this.#send.count % this.#rekeyInterval === 0) this.#send.rekey()
  }

  /** Closes when everything written has been given to the transport; there are no more events. */
  finish(): void {
    if (this.#events === undefined) return
    this.#finishing = true
    this.#events = silence
    if (this.idle) this.close()
  }

  close(): void {
    this.#events = undefined
    listen(this.#transport, null, null)
    this.#transport.close()
  }

  #hasRoom(factor: number): boolean {
    return this.#inFlight < factor * maximumInFlight && this.#transport.bufferedAmount < factor * bufferedHigh
  }

  #sealed(message: Uint8Array): void {
    this.#inFlight -= 1
    if (this.#events === undefined) return
    this.#transport.send(message)
    this.#events.writable()
    if (this.#finishing && this.idle) this.close()
  }

  #message(message: Uint8Array): void {
    if (this.#events === undefined) return
    this.#waitingBytes += message.length + waitingOverhead
    if (message.length <= tagBytes || message.length > maximumMessageBytes) {
      this.#break(new ChannelError('CHANNEL_MALFORMED', `expected a record, got ${message.length} bytes`))
    } else if (this.#waitingBytes > maximumWaitingBytes) {
      this.#break(
        new ChannelError('CHANNEL_FLOODED', `expected at most ${maximumWaitingBytes} waiting bytes`),
      )
    } else {
      this.#queueIn(this.#decrypt(message))
      if (this.#receive.count % this.#rekeyInterval === 0) this.#receive.rekey()
    }
  }

  async #decrypt(message: Uint8Array): Promise<Uint8Array> {
    try {
      return await this.#receive.decrypt(empty, message)
    } catch (cause) {
      throw new ChannelError('CHANNEL_TAMPERED', 'expected the next record of the other end', { cause })
    }
  }

  #opened(plaintext: Uint8Array): void {
    this.#waitingBytes -= plaintext.length + tagBytes + waitingOverhead
    this.#events?.frame(decodeFrame(plaintext))
  }

  #break(error: ChannelError): void {
    const events = this.#events
    if (events === undefined) return
    this.close()
    events.broken(error)
  }
}

/** Uses the results in the order in which the work was queued, though the work itself overlaps. */
function inOrder<Value>(
  use: (value: Value) => void,
  fail: (error: unknown) => void,
): (work: Promise<Value>) => void {
  let tail: Promise<void> = Promise.resolve()
  return (work) => {
    // Settled here, so that a failure that waits for its turn is never an unhandled rejection.
    const settled = work.then(
      (value) => () => use(value),
      (error: unknown) => () => fail(error),
    )
    tail = tail.then(async () => (await settled)()).catch(fail)
  }
}

function asChannelError(error: unknown): ChannelError {
  if (error instanceof ChannelError) return error
  return new ChannelError('CHANNEL_PROTOCOL', 'expected a record that can be handled', { cause: error })
}
