import type { Channel } from '#core/channel/index.ts'

/** What noVNC wants of a connection: the members of a WebSocket, on the object itself. */
export interface ChannelSocket {
  binaryType: string
  readonly protocol: string
  readonly readyState: number
  onopen: (() => void) | null
  onmessage: ((event: { readonly data: ArrayBuffer }) => void) | null
  onclose: ((event: { readonly code?: number; readonly reason?: string }) => void) | null
  onerror: ((event: unknown) => void) | null
  send(data: Uint8Array): void
  close(): void
}

const readyStates = { connecting: 0, open: 1, interrupted: 1, closed: 3 } as const

/** A channel as noVNC wants it. An interruption is invisible: the channel keeps what is sent and resumes. */
export function channelSocket(channel: Channel): ChannelSocket {
  const socket: ChannelSocket = {
    binaryType: 'arraybuffer',
    protocol: '',
    get readyState() {
      return readyStates[channel.state]
    },
    onopen: null,
    onmessage: null,
    onclose: null,
    onerror: null,
    send(data) {
      channel.send(data)
    },
    close() {
      channel.close('left')
    },
  }
  let opened = channel.state === 'open'
  channel.onData = (data) => {
    // noVNC reads the whole buffer, so a view has to become one of its own.
    const { buffer } = data.byteLength === data.buffer.byteLength ? data : data.slice()
    socket.onmessage?.({ data: buffer as ArrayBuffer })
  }
  channel.onState = (state, reason) => {
    if (state === 'open' && !opened) {
      opened = true
      socket.onopen?.()
    }
    if (state === 'closed') socket.onclose?.({ reason: reason ?? '' })
  }
  return socket
}
