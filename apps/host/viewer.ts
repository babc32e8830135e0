import { connect, type Socket } from 'node:net'
import { constants, inflateSync } from 'node:zlib'
import type { DesiredSession } from '#core/agent/messages.ts'
import type { CopyNotice, SessionNotice } from '#core/api/person.ts'
import { encodeUtf8 } from '#core/bytes/index.ts'
import type { Channel } from '#core/channel/index.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { createRfbFilter, type RfbEvent, type RfbFilter, type RfbOutput } from '#core/rfb/index.ts'
import { encodeNotice, rfbRightsOf } from './rights.ts'

const readBytes = 128 * 1024
/** A display that hung up is usually ending, and then the session has a reason to tell. */
const hangUpMs = 3_000
/** What a viewer says may take this processor at once; one that says more, such as text that unpacks to thousands of times its size, waits as long again. */
const busyMs = 10

export interface ViewerEvents {
  /** A connection of the person's came or was lost; a channel waits a while for the next one. */
  connected(connected: boolean): void
  /** The person used keyboard or pointer. */
  input(): void
  clipboard(event: Extract<RfbEvent, { direction: string }>): void
  /** Once, and nothing after it. `code` is why, `cause` what a peer or this program did wrong. */
  gone(code: string, cause?: unknown): void
}

/** One person's view of a display: their channel and a connection to the display, with the rights enforced between. */
export interface Viewer {
  /** Rights, freezing and the notice, in place and at once. */
  apply(session: DesiredSession, now: number): void
  tell(notice: CopyNotice): void
  /** Tells why, then closes the channel with `code`. */
  end(code: string, notice?: SessionNotice): void
}

/**
 * @param channel nobody else uses it
 * @param socketPath of the display; speaks RFB
 */
export function openViewer(
  channel: Channel,
  socketPath: string,
  session: DesiredSession,
  now: number,
  events: ViewerEvents,
): Viewer {
  return new Joint(channel, socketPath, session, now, events)
}

class Joint implements Viewer {
  readonly #channel: Channel
  readonly #filter: RfbFilter
  readonly #socket: Socket
  readonly #events: ViewerEvents
  #notice = ''
  #frozen = false
  #full = false
  #hangUp: NodeJS.Timeout | undefined
  #resting: NodeJS.Timeout | undefined
  #gone = false

  constructor(
    channel: Channel,
    socketPath: string,
    session: DesiredSession,
    now: number,
    events: ViewerEvents,
  ) {
    this.#channel = channel
    this.#events = events
    this.#filter = createRfbFilter({ rights: rfbRightsOf(session, now), inflate })
    this.#socket = connect({
      path: socketPath,
      onread: {
        buffer: Buffer.allocUnsafe(readBytes),
        callback: (count, buffer) => {
          this.#pass(() => this.#filter.fromServer(buffer.subarray(0, count)))
          return this.#mayRead
        },
      },
    })
    // What went wrong does not matter: a display that is gone says so by `ended`.
    this.#socket.on('error', () => undefined)
    this.#socket.once('close', () => {
      if (!this.#gone) this.#hangUp = setTimeout(() => this.end('VIEWER_DISPLAY_LOST'), hangUpMs)
    })
    this.#socket.on('drain', () => this.#listen())
    this.#listen()
    channel.onState = (state, reason) => {
      if (state === 'closed') this.#leave(reason ?? 'CHANNEL_CLOSED')
      else if (!this.#gone) events.connected(state === 'open')
    }
    this.apply(session, now)
  }

  apply(session: DesiredSession, now: number): void {
    if (this.#gone) return
    this.#pass(() => this.#filter.setRights(rfbRightsOf(session, now)))
    if (session.frozen !== this.#frozen) this.#setFrozen(session.frozen)
    const notice = JSON.stringify(session.notice)
    if (notice === this.#notice) return
    this.#notice = notice
    this.#channel.notice(encodeNotice(session.notice))
  }

  tell(notice: CopyNotice): void {
    this.#channel.notice(encodeUtf8(JSON.stringify(notice)))
  }

  end(code: string, notice?: SessionNotice): void {
    if (this.#gone) return
    if (notice !== undefined) this.#channel.notice(encodeNotice(notice))
    this.#channel.close(code)
    this.#leave(code)
  }

  get #mayRead(): boolean {
    // Of somebody who left it is read and dropped, until the display hangs up.
    return this.#gone || (!this.#frozen && !this.#full)
  }

  /** INVARIANT: everybody's sessions on this host share one thread, and no viewer can keep more than half of it. */
  readonly #fromClient = (bytes: Uint8Array): void => {
    const began = process.threadCpuUsage()
    this.#pass(() => this.#filter.fromClient(bytes))
    const { user, system } = process.threadCpuUsage(began)
    const tookMs = (user + system) / 1000
    if (tookMs < busyMs || this.#gone) return
    this.#channel.onData = null
    this.#resting = setTimeout(() => {
      this.#resting = undefined
      this.#listen()
    }, tookMs)
  }

  #listen(): void {
    const isHeld = this.#gone || this.#resting !== undefined || this.#socket.writableNeedDrain
    if (!isHeld) this.#channel.onData = this.#fromClient
  }

  #setFrozen(frozen: boolean): void {
    this.#frozen = frozen
    this.#pass(() => (frozen ? this.#filter.freeze() : this.#filter.thaw()))
    if (frozen) this.#socket.pause()
    else this.#resume()
  }

  #resume(): void {
    if (this.#mayRead) this.#socket.resume()
  }

  /**
   * Runs the filter and sends what it lets through. A peer that breaks the protocol ends the view, not the session;
   * and whatever else goes wrong in one person's stream must not reach the others.
   */
  #pass(filter: () => RfbOutput): void {
    if (this.#gone) return
    try {
      this.#send(filter())
    } catch (error) {
      const code = isCoded(error) ? error.code : 'VIEWER_BROKEN'
      this.#leave(code, error)
      this.#channel.close(code)
    }
  }

  #send({ toClient, toServer, events }: RfbOutput): void {
    // One write, and a copy: pieces may be views of a buffer that is read into again.
    if (toServer.length > 0 && !this.#socket.write(Buffer.concat(toServer))) this.#channel.onData = null
    let room = true
    for (const piece of toClient) room = this.#channel.send(piece)
    if (!room) this.#untilDrained()
    for (const event of events) this.#report(event)
  }

  #untilDrained(): void {
    if (this.#full) return
    this.#full = true
    this.#socket.pause()
    void this.#whenDrained()
  }

  async #whenDrained(): Promise<void> {
    try {
      await this.#channel.drained()
    } catch {
      // Closed: `onState` has told.
      return
    }
    this.#full = false
    this.#resume()
  }

  #report(event: RfbEvent): void {
    if (event.kind === 'input') this.#events.input()
    else if (event.kind !== 'ready') this.#events.clipboard(event)
  }

  #leave(code: string, cause?: unknown): void {
    if (this.#gone) return
    this.#gone = true
    clearTimeout(this.#hangUp)
    clearTimeout(this.#resting)
    this.#channel.onData = null
    this.#leaveDisplay()
    this.#events.gone(code, cause)
  }

  /** Not at once: the person's last keys are on their way, and a connection that is reset would lose them. */
  #leaveDisplay(): void {
    const late = setTimeout(() => this.#socket.destroy(), hangUpMs)
    this.#socket.once('close', () => clearTimeout(late))
    this.#socket.end()
    this.#socket.resume()
  }
}

/** A clipboard's zlib stream ends at a sync flush. */
function inflate(data: Uint8Array, maxBytes: number): Uint8Array | undefined {
  try {
    return inflateSync(data, { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: maxBytes })
  } catch {
    return undefined
  }
}
