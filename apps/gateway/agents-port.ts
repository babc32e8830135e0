import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import { peerIdentity } from '#adapters/pki-x509/index.ts'
import { relayPath, relayProtocol } from '#core/agent/messages.ts'
import { answerError, refuseUpgrade } from './answers.ts'
import type { GatewayOptions, GatewayState } from './gateway.ts'
import { GatewayError } from './gateway-error.ts'
import { Listener } from './listener.ts'

/** The port that hosts dial, with their certificates (invariant I2). */
export function createAgentsPort(options: GatewayOptions, state: GatewayState): Listener {
  const { limits, log } = options
  const listener = new Listener(options.agentTls, limits, limits.hostConnections, limits.hostConnections)
  listener.server.on('request', (_request, response) =>
    answerError(response, new GatewayError('GATEWAY_NO_SUCH_PATH', `hosts upgrade at ${relayPath}`)),
  )
  listener.server.on('upgrade', (request: IncomingMessage, socket: Duplex, early: Buffer) => {
    // Whatever breaks, `close` follows.
    socket.on('error', () => undefined)
    try {
      admit(request, socket, early, options, state)
    } catch (error) {
      state.refused++
      log.warn({ err: error }, 'a host was turned away')
      refuseUpgrade(socket, error, limits.handshakeMs)
    }
  })
  return listener
}

function admit(
  request: IncomingMessage,
  socket: Duplex,
  early: Buffer,
  options: GatewayOptions,
  { spares }: GatewayState,
): void {
  if (request.url !== relayPath) throw new GatewayError('GATEWAY_NO_SUCH_PATH', `expected ${relayPath}`)
  if (request.method !== 'GET' || request.headers.upgrade !== relayProtocol || early.length > 0)
    throw new GatewayError(
      'GATEWAY_NO_SUCH_PROTOCOL',
      `expected an upgrade to ${relayProtocol}, then silence`,
    )
  if (!(socket instanceof TLSSocket)) throw new GatewayError('GATEWAY_NO_SUCH_PROTOCOL', 'a host speaks TLS')
  // Who a host is, only its certificate says.
  const { id: host } = peerIdentity(socket, options.siteId, ['host'])
  if (options.isRevoked(host)) {
    throw new GatewayError('GATEWAY_HOST_REVOKED', 'this host was withdrawn', {
      remedy: 'Enrol it again with a new token.',
    })
  }
  spares.park(host, socket, () =>
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${relayProtocol}\r\n\r\n`,
    ),
  )
}
