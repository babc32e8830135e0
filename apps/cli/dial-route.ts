import { WebSocket } from 'ws'
import { type SiteAddress, trustOf } from '#apps/site-client/call.ts'
import { channelProtocol, routePrefix } from '#core/agent/messages.ts'
import type { Route } from '#core/api/person.ts'
import { type Transport, webSocketTransport } from '#core/channel/index.ts'

/** Opens a WebSocket to a gateway, proven by the site's authority, for a channel to run in. */
export async function dialRoute(
  site: SiteAddress,
  { url, token }: Pick<Route, 'url' | 'token'>,
  signal: AbortSignal,
): Promise<Transport> {
  const address = `${url.replace(/^http/, 'ws')}/channel`
  const options = { ...trustOf(site), perMessageDeflate: false, handshakeTimeout: 10_000 }
  const socket = new WebSocket(address, [channelProtocol, routePrefix + token], options)
  signal.addEventListener('abort', () => socket.terminate(), { once: true })
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve)
    socket.once('error', reject)
  })
  socket.on('error', () => socket.terminate())
  return webSocketTransport(socket)
}
