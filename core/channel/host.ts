import { encodeHex } from '#core/bytes/index.ts'
import { type Channel, defaultReplayBytes, defaultResumeMs } from './channel.ts'
import { ChannelEnd } from './channel-end.ts'
import { type Credential, resumeCredential } from './credential.ts'
import { ChannelError, NoiseError } from './errors.ts'
import type { Frame } from './frame.ts'
import { Link } from './link.ts'
import { type HandshakeResult, HandshakeState } from './noise.ts'
import {
  decodeOpen,
  decodeReceived,
  encodeReceived,
  encodeReply,
  type OpenMessage,
  openPrologue,
  type Refusal,
} from './open-message.ts'
import { type Scheduler, systemScheduler } from './scheduler.ts'
import { listen, type Transport } from './transport.ts'
import type { CryptoKeyPair } from './x25519.ts'

const openMs = 10_000
const defaultMaximumWaiting = 256
/** Handshakes whose replies may have been lost on the way, and whose secrets are therefore kept. */
const maximumUnconfirmed = 4

/** What the site said about a ticket. */
export interface Redeemed {
  /** `ticketPsk` of the ticket. */
  readonly psk: Uint8Array
  /** The X25519 public key of the client it was given to. */
  readonly clientKey: Uint8Array
  /** What both ends must agree on: the ids of host and session. */
  readonly context: Uint8Array
  /**
   * The holder has proved itself: burn the ticket **now**, before returning, and set up the channel's callbacks.
   * Called at most once for a ticket as long as `redeem` does not give a burnt one again.
   */
  accepted(channel: Channel): void
}

export interface ChannelHostOptions {
  readonly keyPair: CryptoKeyPair
  /**
   * Looks a ticket up **without** burning it, since anybody can name it; `accepted` burns. Of two opens at once with
   * the same ticket one is told to wait, so each sees what the other has burnt. Must not throw.
   */
  redeem(ticketId: Uint8Array): Redeemed | undefined
  /** How long an interrupted channel is kept. */
  readonly resumeMs?: number
  /** High water of `send`, at most 8 MiB. */
  readonly replayBytes?: number
  /** Transports that may wait for their handshake at once; more are told to come back later. */
  readonly maximumWaiting?: number
  readonly scheduler?: Scheduler
}

export interface ChannelHost {
  /** Takes a transport on which a client is going to speak. */
  accept(transport: Transport): void
  /** Ends every channel and takes no more. */
  close(): void
}

/** @throws {ChannelError} CHANNEL_OPTIONS, from `accept` at the first channel */
export function createChannelHost(options: ChannelHostOptions): ChannelHost {
  return new Host(options)
}

/** A channel and the ways to come back to it. */
interface Session {
  readonly end: ChannelEnd
  readonly clientKey: Uint8Array
  readonly context: Uint8Array
  /** What the client proved last, kept until it is known to have the next one. */
  proved: string
  /** What the replies since then carried, oldest first. */
  readonly unconfirmed: string[]
  /** The latest handshake, until its first record shows that it was no replay of an old open message. */
  candidate: Link | undefined
}

interface Known {
  readonly psk: Uint8Array
  readonly session: Session
}

interface Answer {
  readonly result: HandshakeResult
  readonly next: Credential
  readonly noise: Uint8Array
  readonly reported: number
  readonly peerReceived: number
}

class Host implements ChannelHost {
  readonly #options: ChannelHostOptions
  readonly #scheduler: Scheduler
  /** Transports before the end of their handshake. */
  readonly #waiting = new Set<Transport>()
  /** Credentials whose handshake is being computed. INVARIANT: never two at once, or a ticket could open twice. */
  readonly #opening = new Set<string>()
  readonly #known = new Map<string, Known>()
  readonly #sessions = new Set<Session>()
  #closed = false

  constructor(options: ChannelHostOptions) {
    this.#options = options
    this.#scheduler = options.scheduler ?? systemScheduler
  }

  accept(transport: Transport): void {
    if (this.#closed || this.#waiting.size >= (this.#options.maximumWaiting ?? defaultMaximumWaiting)) {
      return refuse(transport, 'busy')
    }
    this.#waiting.add(transport)
    const cancel = this.#scheduler.after(openMs, () => transport.close())
    const leave = (): void => {
      cancel()
      this.#waiting.delete(transport)
    }
    const message = (bytes: Uint8Array): void => {
      // The client says nothing more before it has the reply.
      listen(transport, () => transport.close())
      this.#open(transport, bytes)
        .catch((error: unknown) => refuse(transport, refusalOf(error)))
        .finally(leave)
    }
    listen(transport, message, leave)
  }

  close(): void {
    this.#closed = true
    for (const transport of this.#waiting) transport.close()
    for (const session of this.#sessions) {
      session.candidate?.close()
      session.end.close('CHANNEL_CLOSED')
    }
  }

  async #open(transport: Transport, message: Uint8Array): Promise<void> {
    const open = decodeOpen(message)
    const name = nameOf(open)
    if (this.#opening.has(name)) throw new ChannelError('CHANNEL_BUSY', 'this ticket is being opened')
    this.#opening.add(name)
    try {
      const known = this.#known.get(name)
      const redeemed =
        known === undefined && open.kind === 'ticket' ? this.#options.redeem(open.id) : undefined
      const grant = known === undefined ? redeemed : { psk: known.psk, ...partyOf(known.session) }
      if (grant === undefined) throw new ChannelError('CHANNEL_REFUSED', 'no such ticket or channel')
      const answer = await this.#answer(open, grant, known?.session.end)
      // Gone in the meantime: the ticket is still good, and the client will come again.
      if (this.#closed || !this.#waiting.has(transport)) return
      const session = redeemed === undefined ? this.#stillKnown(name, known) : this.#create(name, redeemed)
      this.#propose(session, name, answer, transport)
    } finally {
      this.#opening.delete(name)
    }
  }

  async #answer(
    { kind, id, noise }: OpenMessage,
    grant: Pick<Redeemed, 'psk' | 'clientKey' | 'context'>,
    end: ChannelEnd | undefined,
  ): Promise<Answer> {
    const handshake = await HandshakeState.start({
      pattern: 'KKpsk0',
      role: 'responder',
      prologue: openPrologue(kind, id, grant.context),
      staticKey: this.#options.keyPair,
      remoteStatic: grant.clientKey,
      psk: grant.psk,
    })
    const peerReceived = decodeReceived(await handshake.readMessage(noise))
    const reported = end?.received ?? 0
    const reply = await handshake.writeMessage(encodeReceived(reported))
    const result = await handshake.finish()
    return { result, next: await resumeCredential(result), noise: reply, reported, peerReceived }
  }

  /** The session may have ended, or gone on by another way, while the handshake was computed. */
  #stillKnown(name: string, known: Known | undefined): Session {
    if (known === undefined || this.#known.get(name) !== known) {
      throw new ChannelError('CHANNEL_REFUSED', 'no such channel any more')
    }
    return known.session
  }

  #create(name: string, redeemed: Redeemed): Session {
    const end = new ChannelEnd({
      scheduler: this.#scheduler,
      resumeMs: this.#options.resumeMs ?? defaultResumeMs,
      replayBytes: this.#options.replayBytes ?? defaultReplayBytes,
      interrupted: () => undefined,
      ended: () => this.#forget(session),
    })
    const { psk, clientKey, context } = redeemed
    const session: Session = { end, clientKey, context, proved: name, unconfirmed: [], candidate: undefined }
    this.#sessions.add(session)
    // The ticket stays known here, for this client alone, until a record shows that the reply has arrived.
    this.#known.set(name, { psk, session })
    try {
      redeemed.accepted(end)
    } catch (cause) {
      end.fail('CHANNEL_CALLBACK')
      throw new ChannelError('CHANNEL_CALLBACK', 'the caller could not take the channel', { cause })
    }
    return session
  }

  /** Replies, and waits for the first record. What is open goes on until then. */
  #propose(session: Session, name: string, answer: Answer, transport: Transport): void {
    if (session.end.state === 'closed') throw new ChannelError('CHANNEL_REFUSED', 'the channel has ended')
    if (name !== session.proved) this.#prove(session, name)
    const next = nameOf(answer.next)
    this.#known.set(next, { psk: answer.next.psk, session })
    session.unconfirmed.push(next)
    if (session.unconfirmed.length > maximumUnconfirmed) this.#known.delete(session.unconfirmed.shift() ?? '')

    session.candidate?.close()
    const link = new Link(transport, answer.result)
    session.candidate = link
    const giveUp = (): void => {
      cancel()
      link.close()
      if (session.candidate === link) session.candidate = undefined
    }
    const cancel = this.#scheduler.after(openMs, giveUp)
    link.listen({
      writable: () => undefined,
      broken: giveUp,
      frame: (frame) => {
        cancel()
        this.#confirm(session, next, { link, ...answer }, frame)
      },
    })
    transport.send(encodeReply({ noise: answer.noise }))
  }

  /** The client has the reply: its channel goes on here. @throws {ChannelError} CHANNEL_PROTOCOL */
  #confirm(
    session: Session,
    next: string,
    attachment: { link: Link; reported: number; peerReceived: number },
    frame: Frame,
  ): void {
    if (session.candidate !== attachment.link) return
    session.candidate = undefined
    session.end.attach(attachment)
    this.#prove(session, next)
    session.end.receive(frame)
  }

  /** The client has shown that it holds this credential, so it needs none of the others. */
  #prove(session: Session, name: string): void {
    for (const other of [session.proved, ...session.unconfirmed.splice(0)]) {
      if (other !== name) this.#known.delete(other)
    }
    session.proved = name
  }

  #forget(session: Session): void {
    for (const name of [session.proved, ...session.unconfirmed]) this.#known.delete(name)
    session.candidate?.close()
    this.#sessions.delete(session)
  }
}

function nameOf({ kind, id }: Pick<Credential, 'kind' | 'id'>): string {
  return `${kind} ${encodeHex(id)}`
}

function partyOf({ clientKey, context }: Session): Pick<Redeemed, 'clientKey' | 'context'> {
  return { clientKey, context }
}

function refuse(transport: Transport, refusal: Refusal): void {
  transport.send(encodeReply({ refusal }))
  transport.close()
}

/** A wrong key and an unknown ticket get the same answer. What is broken on this side is worth another try. */
function refusalOf(error: unknown): Refusal {
  if (error instanceof NoiseError) return 'unknown'
  if (!(error instanceof ChannelError)) return 'busy'
  if (error.code === 'CHANNEL_MALFORMED') return 'malformed'
  return error.code === 'CHANNEL_REFUSED' ? 'unknown' : 'busy'
}
