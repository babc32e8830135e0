import type { Duplex } from 'node:stream'
import { createWebSocketStream, WebSocket } from 'ws'
import { displayProtocol, displayTicketPrefix } from '#core/handoff/index.ts'

/** A screen as a page of the site opens it on the loopback port of a device, or a refusal. */
export type Opened = { readonly stream: Duplex } | { readonly status: number; readonly code: string }

export interface ScreenRequest {
  readonly port: number
  readonly origin: string
  readonly path?: string
  readonly host?: string
  readonly protocols?: readonly string[]
}

/** The subprotocols of a page that brings this ticket. */
export function protocolsOf(ticket: string): readonly string[] {
  return [displayProtocol, `${displayTicketPrefix}${ticket}`]
}

export async function openScreen({
  port,
  origin,
  path = '/display',
  host = `127.0.0.1:${port}`,
  protocols = [],
}: ScreenRequest): Promise<Opened> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, [...protocols], { origin, headers: { host } })
  // Made at once: the other end speaks first.
  const stream = createWebSocketStream(socket)
  stream.on('error', () => undefined)
  socket.once('close', () => stream.destroy())
  return new Promise((resolve, reject) => {
    socket.once('open', () => resolve({ stream }))
    socket.once('error', reject)
    socket.once('unexpected-response', (_request, response) => {
      let text = ''
      response.on('data', (part) => (text += String(part)))
      response.on('end', () => {
        const { code } = JSON.parse(text) as { readonly code: string }
        resolve({ status: response.statusCode ?? 0, code })
        socket.terminate()
      })
    })
  })
}

/** @returns `OPEN`, or the code of the refusal */
export async function outcomeOf(request: ScreenRequest): Promise<string> {
  const opened = await openScreen(request)
  return 'stream' in opened ? 'OPEN' : opened.code
}
