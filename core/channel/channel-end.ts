import { type Channel, type ChannelState, maximumReplayBytes } from './channel.ts'
import { ChannelError, type ChannelErrorCode } from './errors.ts'
import { type ControlFrame, encodeControl, encodeReason, type Frame, type SequencedFrame } from './frame.ts'
import { Inbox } from './inbox.ts'
import { KeepAlive } from './keep-alive.ts'
import type { Link } from './link.ts'
import { Outbox } from './outbox.ts'
import type { Scheduler } from './scheduler.ts'

const ackBytes = 64 << 10
const ackDelayMs = 20
const retryWriteMs = 5
const lingerMs = 5_000

export interface ChannelEndOptions {
  readonly scheduler: Scheduler
  readonly resumeMs: number
  readonly replayBytes: number
  /** The transport is lost, another one is needed. */
  interrupted(): void
  /** Nothing will ever be sent or received again. */
  ended(): void
}

/** A link with what its handshake told. */
export interface Attachment {
  readonly link: Link
  /** What this end said it had received. */
  readonly reported: number
  /** What the other end said it had received. */
  readonly peerReceived: number
}

/** The part of a channel that client and host share: everything but how transports are found. */
export class ChannelEnd implements Channel {
  onNotice: Channel['onNotice'] = null
  onState: Channel['onState'] = null

  readonly #options: ChannelEndOptions
  readonly #outbox = new Outbox()
  readonly #inbox: Inbox
  readonly #keepAlive: KeepAlive
  readonly #drainWaiters = new Set<() => void>()
  #onData: Channel['onData'] = null
  #state: ChannelState = 'connecting'
  #link: Link | undefined
  #unacknowledged = 0
  #cancelAck: (() => void) | undefined
  #cancelRetry: (() => void) | undefined
  #cancelEnd: (() => void) | undefined
  #pumpQueued = false
  #ended = false

  constructor(options: ChannelEndOptions) {
    if (!(options.replayBytes > 0 && options.replayBytes <= maximumReplayBytes)) {
      throw new ChannelError('CHANNEL_OPTIONS', `expected replayBytes up to ${maximumReplayBytes}`)
    }
    this.#options = options
    this.#inbox = new Inbox({
      ready: (frame) => this.#state !== 'closed' && (frame.type !== 'data' || this.#onData !== null),
      deliver: (frame, length) => this.#deliver(frame, length),
    })
    this.#keepAlive = new KeepAlive(options.scheduler, {
      ping: (number) => this.#control({ type: 'ping', number }),
      silent: () => this.#broken(new ChannelError('CHANNEL_SILENT', 'the other end did not answer')),
    })
    this.#endAfter(options.resumeMs)
  }

  get state(): ChannelState {
    return this.#state
  }

  get rttMs(): number | undefined {
    return this.#keepAlive.rttMs
  }

  /** How much of the other end's sequence has been delivered. */
  get received(): number {
    return this.#inbox.delivered
  }

  get onData(): Channel['onData'] {
    return this.#onData
  }

  set onData(handler: Channel['onData']) {
    this.#onData = handler
    // Not at once: the caller may have more to set up.
    if (handler !== null) queueMicrotask(() => this.#inbox.flush())
  }

  send(data: Uint8Array): boolean {
    return this.#append('data', data)
  }

  notice(data: Uint8Array): void {
    this.#append('notice', data)
  }

  async drained(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const check = (): void => {
      if (this.#state === 'closed') reject(new ChannelError('CHANNEL_CLOSED', 'the channel is closed'))
      else if (this.#outbox.size <= this.#options.replayBytes / 2) resolve()
    }
    const abort = (): void => reject(signal?.reason as Error)
    signal?.addEventListener('abort', abort, { once: true })
    this.#drainWaiters.add(check)
    check()
    try {
      await promise
    } finally {
      this.#drainWaiters.delete(check)
      signal?.removeEventListener('abort', abort)
    }
  }

  probe(): void {
    if (this.#link === undefined) this.#options.interrupted()
    else this.#keepAlive.hurry()
  }

  close(reason: string): void {
    this.#close(reason, reason)
  }

  /** Ends without a word to the other end. */
  fail(code: ChannelErrorCode): void {
    this.#end(code)
  }

  /**
   * Goes on over a new link, instead of the one before.
   *
   * @throws {ChannelError} CHANNEL_PROTOCOL when the other end's count cannot be true, CHANNEL_CLOSED
   */
  attach({ link, reported, peerReceived }: Attachment): void {
    if (this.#state === 'closed') throw new ChannelError('CHANNEL_CLOSED', 'the channel is closed')
    this.#outbox.rewind(peerReceived)
    this.#detach()
    this.#cancelEnd?.()
    this.#inbox.restart(reported)
    this.#link = link
    link.listen({
      frame: (frame) => this.receive(frame),
      writable: () => this.#pump(),
      broken: (error) => this.#broken(error),
    })
    // Its first PING is also the record by which the host knows that this handshake was no replay.
    this.#keepAlive.start()
    this.#enter('open', undefined)
    this.#checkDrained()
    this.#pump()
  }

  /** Takes a frame of the present link. @throws {ChannelError} CHANNEL_PROTOCOL, CHANNEL_MALFORMED, CHANNEL_FLOODED */
  receive(frame: Frame): void {
    this.#keepAlive.heard()
    switch (frame.type) {
      case 'ack':
        this.#outbox.acknowledge(frame.received)
        this.#checkDrained()
        this.#pump()
        if (this.#state === 'closed' && this.#outbox.size === 0) this.#end('')
        return
      case 'ping':
        this.#control({ type: 'pong', number: frame.number })
        return
      case 'pong':
        this.#keepAlive.pong(frame.number)
        return
      case 'data':
      case 'notice':
      case 'close':
        if (this.#state !== 'closed') this.#inbox.push(frame)
        else if (frame.type === 'close') this.#end('')
    }
  }

  #close(reason: string, told: string): void {
    if (this.#state === 'closed') return
    if (this.#link === undefined) return this.#end(reason)
    this.#outbox.append('close', encodeReason(told))
    // What was sent before still has to arrive: the end comes with the last ACK, or soon.
    this.#endAfter(lingerMs)
    this.#enter('closed', reason)
    this.#pump()
  }

  #append(type: 'data' | 'notice', bytes: Uint8Array): boolean {
    if (this.#state === 'closed') return false
    // INVARIANT: a peer that never acknowledges cannot make this end hold more than this and one `send`.
    if (this.#outbox.size > 2 * this.#options.replayBytes) {
      this.fail('CHANNEL_OVERFLOW')
      return false
    }
    this.#outbox.append(type, bytes)
    if (!this.#pumpQueued) {
      // After this turn: what is sent in one turn shares frames, and nothing waits for it.
      this.#pumpQueued = true
      queueMicrotask(() => {
        this.#pumpQueued = false
        this.#pump()
      })
    }
    return this.#outbox.size < this.#options.replayBytes
  }

  #pump(): void {
    const link = this.#link
    if (link === undefined) return
    while (link.writable) {
      const frame = this.#outbox.next()
      if (frame === undefined) return
      link.write(frame)
    }
    if (!link.idle || this.#cancelRetry !== undefined) return
    // A WebSocket does not say when its buffer has drained.
    this.#cancelRetry = this.#options.scheduler.after(retryWriteMs, () => {
      this.#cancelRetry = undefined
      this.#pump()
    })
  }

  /** Control frames are not queued: one for which there is no room is dropped, and a later one says the same. */
  #control(frame: ControlFrame): boolean {
    if (this.#link?.writableControl !== true) return false
    this.#link.write(encodeControl(frame))
    return true
  }

  #deliver(frame: SequencedFrame, length: number): void {
    this.#unacknowledged += length
    switch (frame.type) {
      case 'data':
        this.#call(() => this.#onData?.(frame.bytes))
        break
      case 'notice':
        this.#call(() => this.onNotice?.(frame.bytes))
        break
      case 'close':
        this.#acknowledge()
        return this.#end(frame.reason)
    }
    if (this.#unacknowledged >= ackBytes) this.#acknowledge()
    else this.#cancelAck ??= this.#options.scheduler.after(ackDelayMs, () => this.#acknowledge())
  }

  #acknowledge(): void {
    this.#cancelAck?.()
    this.#cancelAck = undefined
    if (this.#link === undefined) return
    if (this.#control({ type: 'ack', received: this.received })) this.#unacknowledged = 0
    else this.#cancelAck = this.#options.scheduler.after(ackDelayMs, () => this.#acknowledge())
  }

  #broken(error: ChannelError): void {
    this.#detach()
    if (this.#state === 'closed') return this.#end('')
    this.#endAfter(this.#options.resumeMs)
    this.#enter('interrupted', error.code)
    this.#options.interrupted()
  }

  #detach(): void {
    this.#link?.close()
    this.#link = undefined
    this.#stop()
  }

  #stop(): void {
    this.#keepAlive.stop()
    this.#cancelAck?.()
    this.#cancelRetry?.()
    this.#cancelAck = this.#cancelRetry = undefined
  }

  #endAfter(ms: number): void {
    this.#cancelEnd?.()
    this.#cancelEnd = this.#options.scheduler.after(ms, () => this.#end('CHANNEL_EXPIRED'))
  }

  #end(reason: string): void {
    if (this.#ended) return
    this.#ended = true
    this.#cancelEnd?.()
    this.#stop()
    this.#link?.finish()
    this.#link = undefined
    this.#outbox.clear()
    if (this.#state !== 'closed') this.#enter('closed', reason)
    this.#options.ended()
  }

  #enter(state: ChannelState, reason: string | undefined): void {
    if (this.#state === state) return
    this.#state = state
    this.#call(() => this.onState?.(state, reason))
    this.#checkDrained()
  }

  #checkDrained(): void {
    for (const check of this.#drainWaiters) check()
  }

  #call(callback: () => void): void {
    try {
      callback()
    } catch (cause) {
      // The other end learns only that it failed, not how.
      this.#close(`CHANNEL_CALLBACK: ${String(cause)}`, 'CHANNEL_CALLBACK')
    }
  }
}
