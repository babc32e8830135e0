/**
 * A connection that keeps messages whole but promises nothing else: the channel on top trusts none of it.
 *
 * It is open when the channel gets it. `onclose` runs once, also after `close`; no message comes after it.
 */
export interface Transport {
  /** Must not throw when the connection is already gone. The bytes are not changed afterwards. */
  send(message: Uint8Array): void
  close(): void
  /** Bytes given to `send` that have not left yet. */
  readonly bufferedAmount: number
  onmessage: ((message: Uint8Array) => void) | null
  onclose: (() => void) | null
}

/** Says who gets the messages and the end of a transport from now on. */
export function listen(
  transport: Transport,
  onmessage: Transport['onmessage'],
  onclose: Transport['onclose'] = transport.onclose,
): void {
  Object.assign(transport, { onmessage, onclose })
}

/** What the browser's WebSocket and the one of `ws` have in common. */
export interface WebSocketLike {
  binaryType: string
  readonly readyState: number
  readonly bufferedAmount: number
  send(data: Uint8Array<ArrayBuffer>): void
  close(code?: number, reason?: string): void
  addEventListener(type: 'message', listener: (event: { data: unknown }) => void): void
  addEventListener(type: 'close' | 'error', listener: () => void): void
}

const openState = 1

/** A WebSocket as a transport. It must be open; a message of text ends it, since the channel has none. */
export function webSocketTransport(ws: WebSocketLike): Transport {
  ws.binaryType = 'arraybuffer'
  const transport: Transport = {
    send(message) {
      if (ws.readyState === openState) ws.send(message as Uint8Array<ArrayBuffer>)
    },
    close() {
      ws.close()
    },
    get bufferedAmount() {
      return ws.bufferedAmount
    },
    onmessage: null,
    onclose: null,
  }
  let closed = false
  const ended = (): void => {
    if (closed) return
    closed = true
    transport.onclose?.()
  }
  ws.addEventListener('message', ({ data }) => {
    if (closed) return
    if (data instanceof ArrayBuffer) transport.onmessage?.(new Uint8Array(data))
    else ws.close()
  })
  ws.addEventListener('close', ended)
  // An error is always followed by a close; the listener only keeps `ws` from throwing it.
  ws.addEventListener('error', () => undefined)
  return transport
}
