import { createServer } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import { channelProtocol } from '#core/agent/messages.ts'
import { type Transport, webSocketTransport } from '#core/channel/index.ts'

/** A record of the channel is at most 64 KiB. */
const maximumMessageBytes = 70 * 1024

/** Where people's WebSockets end. It listens on no port: gateways put people through on connections that we opened. */
export interface PeopleDoor {
  /**
   * Waits for one person's request on a connection.
   *
   * @returns true when it came, false when the connection closed before
   */
  admit(socket: Duplex): Promise<boolean>
  close(): void
}

/** @param accept gets each WebSocket; who is at its other end is unknown */
export function openPeopleDoor(accept: (transport: Transport) => void): PeopleDoor {
  const waiting = new WeakMap<Duplex, (came: boolean) => void>()
  const open = new Set<Duplex>()
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    // The channel has its own pings; answers to these would pile up for a gateway that never reads.
    autoPong: false,
    maxPayload: maximumMessageBytes,
    handleProtocols: (offered) => (offered.has(channelProtocol) ? channelProtocol : false),
  })
  const server = createServer((_request, response) => {
    response.writeHead(426, { connection: 'close', upgrade: 'websocket' }).end()
  })
  server.on('upgrade', (request, socket, head) => {
    waiting.get(socket)?.(true)
    const offered = request.headers['sec-websocket-protocol']?.split(',').map((name) => name.trim())
    if (offered?.includes(channelProtocol) !== true) {
      socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n')
      return
    }
    sockets.handleUpgrade(request, socket, head, (ws) => accept(webSocketTransport(ws)))
  })
  return {
    async admit(socket) {
      const { promise, resolve } = Promise.withResolvers<boolean>()
      waiting.set(socket, resolve)
      open.add(socket)
      socket.once('close', () => {
        open.delete(socket)
        resolve(false)
      })
      if (socket.destroyed) resolve(false)
      else server.emit('connection', socket)
      return promise
    },
    close() {
      for (const socket of open) socket.destroy()
    },
  }
}
