import type { IncomingMessage } from 'node:http'
import { createConnection } from 'node:net'
import type { Duplex } from 'node:stream'
import type { HttpServer } from 'vite'
import { WebSocketServer } from 'ws'
import { channelProtocol } from '#core/agent/messages.ts'
import type { HostedDelivery, Route, SessionView } from '#core/api/person.ts'
import { decodeBase64url, encodeBase64url, encodeHex } from '#core/bytes/index.ts'
import {
  type Channel,
  type ChannelHost,
  createChannelHost,
  createTicket,
  exportPublic,
  generateX25519,
  type Redeemed,
  ticketId,
  ticketPsk,
  webSocketTransport,
} from '#core/channel/index.ts'

/** Gateway and host in one, for the mock: a channel ends here and leads to a display's unix socket. */
export interface MockHost {
  delivery(session: SessionView, clientKey: string): Promise<HostedDelivery>
  routes(): Route[]
  notify(notice: unknown): void
  cut(cut: boolean): void
  restart(): void
}

const keyPair = await generateX25519()
const display = process.env['TRUSTCAST_MOCK_DISPLAY'] ?? '/nowhere'

export function createMockHost(httpServer: HttpServer | null): MockHost {
  const tickets = new Map<string, Redeemed>()
  const channels = new Set<Channel>()
  const redeem = (id: Uint8Array): Redeemed | undefined => tickets.get(encodeHex(id))
  let host: ChannelHost = createChannelHost({ keyPair, redeem })
  let isCut = false

  const server = new WebSocketServer({ noServer: true, handleProtocols: () => channelProtocol })
  httpServer?.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (request.url !== '/channel') return
    if (isCut) socket.destroy()
    else server.handleUpgrade(request, socket, head, (ws) => host.accept(webSocketTransport(ws)))
  })

  function routes(): Route[] {
    const address = httpServer?.address()
    const port = typeof address === 'object' ? address?.port : undefined
    const expiresAt = new Date(Date.now() + 600_000).toISOString()
    return [{ url: `ws://localhost:${port}`, token: 'mock', expiresAt }]
  }

  async function delivery(session: SessionView, clientKey: string): Promise<HostedDelivery> {
    const ticket = createTicket()
    const context = new TextEncoder().encode(session.id)
    const name = encodeHex(await ticketId(ticket))
    tickets.set(name, {
      psk: await ticketPsk(ticket),
      clientKey: decodeBase64url(clientKey),
      context,
      accepted(channel) {
        tickets.delete(name)
        channels.add(channel)
        joinDisplay(channel)
      },
    })
    return {
      kind: 'hosted',
      session: { ...session, host: session.host ?? { id: session.id, name: 'nobody' } },
      ticket: encodeBase64url(ticket),
      hostKey: encodeBase64url(await exportPublic(keyPair.publicKey)),
      context: encodeBase64url(context),
      routes: routes(),
    }
  }

  return {
    delivery,
    routes,
    notify(notice) {
      for (const channel of channels) channel.notice(new TextEncoder().encode(JSON.stringify(notice)))
    },
    cut(cut) {
      isCut = cut
      if (cut) for (const client of server.clients) client.terminate()
    },
    restart() {
      for (const client of server.clients) client.terminate()
      host = createChannelHost({ keyPair, redeem })
    },
  }
}

function joinDisplay(channel: Channel): void {
  const socket = createConnection(display)
  socket.on('data', (data) => channel.send(new Uint8Array(data)))
  socket.on('close', () => channel.close('SESSION_PROGRAM_ENDED'))
  socket.on('error', () => undefined)
  channel.onData = (data) => void socket.write(data)
  channel.onState = (state) => {
    if (state === 'closed') socket.destroy()
  }
}
