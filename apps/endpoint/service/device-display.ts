import { type IncomingMessage, type Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { createWebSocketStream, WebSocketServer } from 'ws'
import { admitDisplay, displayProtocol, type LoopbackTerms } from '#core/handoff/index.ts'
import { askerOfTcp } from './asker.ts'
import { answerError, isAnswerEnough } from './device-routes.ts'
import type { DeviceService } from './endpoint-service.ts'
import { ServiceError } from './service-error.ts'

/** A viewer sends keys, pointer, and a clipboard in pieces. */
const maxMessageBytes = 65_536

/**
 * The way from a page of the site to the screen of a VM on this machine: a WebSocket to the loopback port, with RFB in binary messages.
 *
 * @param pace throws when it is asked too often
 * @returns disposes of every viewer that is connected
 */
export function serveDisplays(
  server: Server,
  service: DeviceService,
  terms: LoopbackTerms,
  pace: () => void,
): Disposable {
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: maxMessageBytes,
    handleProtocols: () => displayProtocol,
  })
  const show = async (request: IncomingMessage, socket: Socket, head: Buffer): Promise<void> => {
    const { method = '', url: path = '', headers } = request
    const ticket = admitDisplay({ method, path, headers }, terms)
    pace()
    const asker = await askerOfTcp(socket)
    if (asker === undefined)
      throw new ServiceError('SERVICE_NO_ACCOUNT', 'the program that asks is not of this machine')
    const serve = service.redeemDisplay(ticket, asker)
    sockets.handleUpgrade(request, socket, head, (viewer) => {
      const stream = createWebSocketStream(viewer)
      // Cut off by its other end, the stream alone would wait for what cannot be written any more.
      viewer.once('close', () => stream.destroy())
      serve(stream)
    })
  }
  server.on('upgrade', (request: IncomingMessage, stream: Duplex, head: Buffer) => {
    // Of a server of TCP it is one.
    const socket = stream as Socket
    socket.on('error', () => undefined)
    show(request, socket, head).catch((error: unknown) => {
      if (!isAnswerEnough(error)) service.warn(error)
      refuse(request, socket, error)
    })
  })
  return {
    [Symbol.dispose]: () => {
      for (const viewer of sockets.clients) viewer.terminate()
    },
  }
}

/** As any other refusal here, without leave to read it: pages learn nothing of a WebSocket that was not opened. */
function refuse(request: IncomingMessage, socket: Socket, error: unknown): void {
  const response = new ServerResponse(request)
  response.assignSocket(socket)
  response.on('finish', () => socket.end())
  answerError(response, error)
  socket.setTimeout(5_000, () => socket.destroy())
  socket.resume()
}
