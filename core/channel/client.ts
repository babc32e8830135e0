import { isCoded } from '#core/errors/coded-error.ts'
import { type Channel, defaultReplayBytes, defaultResumeMs } from './channel.ts'
import { ChannelEnd } from './channel-end.ts'
import { type Credential, resumeCredential, ticketCredential } from './credential.ts'
import { ChannelError } from './errors.ts'
import { Link } from './link.ts'
import { HandshakeState } from './noise.ts'
import { decodeReceived, decodeReply, encodeOpen, encodeReceived, openPrologue } from './open-message.ts'
import { type Scheduler, systemScheduler } from './scheduler.ts'
import { listen, type Transport } from './transport.ts'
import type { CryptoKeyPair } from './x25519.ts'

const attemptMs = 10_000
const firstDelayMs = 250
const longestDelayMs = 8_000
/** A link that lived so long was a good one: the next attempt comes soon. */
const goodLinkMs = 10_000

export interface ConnectOptions {
  /** Makes an open transport to the host, as often as one is lost. Must end when the signal is aborted. */
  dial(signal: AbortSignal): Promise<Transport>
  /** The host's X25519 public key, as the site told it. */
  readonly hostKey: Uint8Array
  /** The client's own key, to which the ticket is bound. */
  readonly keyPair: CryptoKeyPair
  /** 32 bytes. */
  readonly ticket: Uint8Array
  /** What both ends must agree on: the ids of host and session. */
  readonly context: Uint8Array
  /** How long to try, at first and after each interruption. */
  readonly resumeMs?: number
  /** High water of `send`, at most 8 MiB. */
  readonly replayBytes?: number
  /** From 0 to below 1, for the jitter of attempts. */
  readonly random?: () => number
  readonly scheduler?: Scheduler
}

/**
 * Opens a channel to a host. Returns at once, in the state `connecting`; whatever goes wrong is told by `onState`.
 *
 * A refusal by the host ends the channel with CHANNEL_REFUSED: ask the site for a new ticket.
 *
 * @throws {ChannelError} CHANNEL_OPTIONS
 */
export function connectChannel(options: ConnectOptions): Channel {
  return new Client(options).end
}

class Client {
  readonly end: ChannelEnd
  readonly #options: ConnectOptions
  readonly #scheduler: Scheduler
  readonly #random: () => number
  readonly #ended = new AbortController()
  /** Ends the present wait of `#run`. */
  #wake: () => void = () => undefined

  constructor(options: ConnectOptions) {
    this.#options = options
    this.#scheduler = options.scheduler ?? systemScheduler
    this.#random = options.random ?? Math.random
    this.end = new ChannelEnd({
      scheduler: this.#scheduler,
      resumeMs: options.resumeMs ?? defaultResumeMs,
      replayBytes: options.replayBytes ?? defaultReplayBytes,
      interrupted: () => this.#wake(),
      ended: () => {
        this.#ended.abort()
        this.#wake()
      },
    })
    this.#run().catch((error: unknown) => {
      this.end.fail(error instanceof ChannelError ? error.code : 'CHANNEL_OPTIONS')
    })
  }

  async #run(): Promise<void> {
    let credential = await ticketCredential(this.#options.ticket)
    let failures = 0
    while (this.end.state !== 'closed') {
      const began = this.#scheduler.now()
      try {
        credential = await this.#attempt(credential)
        await this.#interruption()
        failures = this.#scheduler.now() - began > goodLinkMs ? 0 : failures + 1
      } catch (error) {
        if (isFinal(error)) throw error
        failures += 1
      }
      await this.#delay(failures)
    }
  }

  /** One transport with one handshake. Returns what the next one needs. */
  async #attempt(credential: Credential): Promise<Credential> {
    const timeout = new AbortController()
    const cancel = this.#scheduler.after(attemptMs, () => timeout.abort())
    const signal = AbortSignal.any([timeout.signal, this.#ended.signal])
    let transport: Transport | undefined
    try {
      transport = await unlessAborted(this.#options.dial(signal), signal, (late) => late.close())
      return await this.#open(transport, credential, signal)
    } catch (error) {
      transport?.close()
      throw error
    } finally {
      cancel()
    }
  }

  async #open(transport: Transport, credential: Credential, signal: AbortSignal): Promise<Credential> {
    const { kind, id, psk } = credential
    const { keyPair, hostKey, context } = this.#options
    const answer = unlessAborted(firstMessage(transport), signal)
    // Awaited below; until then a transport that closes early is no unhandled rejection.
    answer.catch(() => undefined)
    const handshake = await HandshakeState.start({
      pattern: 'KKpsk0',
      role: 'initiator',
      prologue: openPrologue(kind, id, context),
      staticKey: keyPair,
      remoteStatic: hostKey,
      psk,
    })
    const reported = this.end.received
    const noise = await handshake.writeMessage(encodeReceived(reported))
    transport.send(encodeOpen({ kind, id, noise }))
    const reply = decodeReply(await answer)
    if ('refusal' in reply) {
      throw reply.refusal === 'busy'
        ? new ChannelError('CHANNEL_BUSY', 'the host asked to come back later')
        : new ChannelError('CHANNEL_REFUSED', `the host refused: ${reply.refusal}`)
    }
    const peerReceived = decodeReceived(await handshake.readMessage(reply.noise))
    const result = await handshake.finish()
    const next = await resumeCredential(result)
    signal.throwIfAborted()
    this.end.attach({ link: new Link(transport, result), reported, peerReceived })
    return next
  }

  #interruption(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
      // It may be over already.
      if (this.end.state !== 'open') resolve()
    })
  }

  /** Doubles with each failure; the jitter keeps the clients of a fallen gateway from coming back together. */
  #delay(failures: number): Promise<void> {
    const longest = Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(failures, 10))
    return new Promise((resolve) => {
      const cancel = this.#scheduler.after(longest * (0.5 + this.#random() / 2), resolve)
      this.#wake = () => {
        cancel()
        resolve()
      }
      if (this.#ended.signal.aborted) this.#wake()
    })
  }
}

/** What another attempt cannot mend: the host's no, and keys that are none. */
function isFinal(error: unknown): boolean {
  return isCoded(error) && (error.code === 'CHANNEL_REFUSED' || error.code === 'NOISE_KEYS')
}

function firstMessage(transport: Transport): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const message = (bytes: Uint8Array): void => {
      resolve(bytes)
      // The host says nothing more before it has heard from this end.
      listen(transport, () => transport.close())
    }
    listen(transport, message, () => {
      reject(new ChannelError('CHANNEL_TRANSPORT', 'the transport closed before the reply'))
    })
  })
}

/** Ends with the signal, even when the work does not. */
async function unlessAborted<Value>(
  work: Promise<Value>,
  signal: AbortSignal,
  late?: (value: Value) => void,
): Promise<Value> {
  const { promise, reject } = Promise.withResolvers<never>()
  const abort = (): void => {
    reject(new ChannelError('CHANNEL_TRANSPORT', 'the attempt took too long or is not needed any more'))
    work.then(late, () => undefined).catch(() => undefined)
  }
  if (signal.aborted) abort()
  else signal.addEventListener('abort', abort, { once: true })
  try {
    return await Promise.race([work, promise])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}
