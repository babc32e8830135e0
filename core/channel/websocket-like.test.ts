import { expect, test, vi } from 'vitest'
import type { Channel } from './channel.ts'
import { ChannelSocket } from './websocket-like.ts'

/** As far as noVNC's own wrapper is used here. */
interface Websock {
  readonly readyState: string
  attach(channel: unknown): void
  on(event: 'message' | 'open' | 'close', handler: (event: { readonly reason: string }) => void): void
  rQlen(): number
  rQshiftStr(length: number): string
  sQpushString(text: string): void
  flush(): void
  close(): void
}

// noVNC's log asks the window for the console.
vi.stubGlobal('window', globalThis)
const websock = new URL('../../node_modules/@novnc/novnc/core/websock.js', import.meta.url)
const { default: NoVncSocket } = (await import(websock.href)) as { default: new () => Websock }

/** A channel that the test moves by hand. */
function handChannel(): Channel & { state: Channel['state']; readonly sent: string[] } {
  const sent: string[] = []
  return {
    state: 'connecting',
    rttMs: undefined,
    sent,
    onData: null,
    onNotice: null,
    onState: null,
    send: (data) => sent.push(Buffer.from(data).toString()) > 0,
    drained: async () => undefined,
    notice: () => undefined,
    probe: () => undefined,
    close(reason) {
      this.state = 'closed'
      this.onState?.('closed', reason)
    },
  }
}

function move(channel: ReturnType<typeof handChannel>, state: Channel['state']): void {
  channel.state = state
  channel.onState?.(state, undefined)
}

test('noVNC takes a channel for a WebSocket, and an interruption for nothing', async () => {
  const channel = handChannel()
  const states: string[] = []
  channel.onState = (state) => void states.push(state)
  const socket = new NoVncSocket()
  const events: string[] = []
  socket.on('open', () => void events.push('open'))
  socket.on('message', () => void events.push(socket.rQshiftStr(socket.rQlen())))
  socket.on('close', ({ reason }) => void events.push(`close: ${reason}`))
  socket.attach(new ChannelSocket(channel))
  expect(socket.readyState).toBe('connecting')
  move(channel, 'open')
  // A view into a larger buffer, as frames are.
  channel.onData?.(new TextEncoder().encode('xRFB 003.008').subarray(1))
  move(channel, 'interrupted')
  expect(socket.readyState).toBe('open')
  socket.sQpushString('hello')
  socket.flush()
  move(channel, 'open')
  socket.close()
  expect(socket.readyState).toBe('closed')
  expect(events).toEqual(['open', 'RFB 003.008'])
  await Promise.resolve()
  expect(events).toEqual(['open', 'RFB 003.008', 'close: the viewer closed'])
  expect(channel.sent).toEqual(['hello'])
  expect(states).toEqual(['open', 'interrupted', 'open', 'closed'])
})

test('data waits in the channel until somebody listens', () => {
  const channel = handChannel()
  const socket = new ChannelSocket(channel)
  expect(channel.onData).toBeNull()
  Object.assign(socket, { onmessage: () => undefined })
  expect(channel.onData).not.toBeNull()
  Object.assign(socket, { onmessage: null })
  expect(channel.onData).toBeNull()
})
