import type { Channel, ChannelState } from './channel.ts'

/** As in WebSocket. An interrupted channel counts as open: its user need not know. */
const readyStates: Readonly<Record<ChannelState, number>> = {
  connecting: 0,
  open: 1,
  interrupted: 1,
  closed: 3,
}

/** A channel ends on purpose or by a code of its own in `reason`, never without a word: 1000 of RFC 6455. */
const normalClosure = 1000

export interface ChannelSocketClose {
  readonly type: 'close'
  readonly code: number
  readonly reason: string
  readonly wasClean: boolean
}

/**
 * A channel in the shape of a WebSocket, as noVNC's `RFB` takes it in place of an address.
 *
 * noVNC looks for the members on the object and on its direct prototype, so this class must not be extended.
 * It takes over the channel's `onData` and adds itself to its `onState`: set your own `onState` before.
 *
 * Backpressure: while there is no `onmessage` the other end is held back. What is sent has no such brake, as with a
 * WebSocket; a viewer's input is far below the channel's bound, and going above it closes the channel.
 */
export class ChannelSocket {
  binaryType = 'arraybuffer'
  readonly protocol = ''
  onopen: ((event: { readonly type: 'open' }) => void) | null = null
  onclose: ((event: ChannelSocketClose) => void) | null = null
  /** Never called: whatever goes wrong with a channel ends it, and `onclose` says why. */
  onerror: ((event: { readonly type: 'error' }) => void) | null = null

  readonly #channel: Channel
  #onmessage: MessageHandler | null = null
  #opened: boolean

  constructor(channel: Channel) {
    this.#channel = channel
    this.#opened = channel.state !== 'connecting'
    const before = channel.onState
    channel.onState = (state, reason) => {
      before?.(state, reason)
      this.#changed(state, reason)
    }
  }

  get readyState(): number {
    return readyStates[this.#channel.state]
  }

  get onmessage(): MessageHandler | null {
    return this.#onmessage
  }

  set onmessage(handler: MessageHandler | null) {
    this.#onmessage = handler
    this.#channel.onData =
      handler === null ? null : (data) => handler({ type: 'message', data: new Uint8Array(data).buffer })
  }

  send(data: ArrayBuffer | ArrayBufferView): void {
    this.#channel.send(
      data instanceof ArrayBuffer
        ? new Uint8Array(data)
        : new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    )
  }

  close(_code?: number, reason = 'the viewer closed'): void {
    this.#channel.close(reason)
  }

  #changed(state: ChannelState, reason = ''): void {
    if (state === 'open' && !this.#opened) {
      this.#opened = true
      this.onopen?.({ type: 'open' })
    } else if (state === 'closed') {
      // Not within `close` itself: like a WebSocket's event it comes later.
      queueMicrotask(() => this.onclose?.({ type: 'close', code: normalClosure, reason, wasClean: true }))
    }
  }
}

type MessageHandler = (event: { readonly type: 'message'; readonly data: ArrayBuffer }) => void
