import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { verifyRoute } from '#core/agent/route.ts'
import { answerError, refuseUpgrade } from './answers.ts'
import type { GatewayOptions, GatewayState } from './gateway.ts'
import { GatewayError } from './gateway-error.ts'
import { Listener } from './listener.ts'
import { headForHost, routeTokenOf } from './upgrade-head.ts'

/** Where a person's client asks for its host, by WebSocket upgrade. */
const channelPath = '/channel'

/** The port that people dial, from anywhere. */
export function createPeoplePort(options: GatewayOptions, state: GatewayState): Listener {
  const { limits, log } = options
  const listener = new Listener(options.peopleTls, limits, limits.connections, limits.connectionsPerSource)
  listener.server.on('request', (request, response) =>
    answer(request, response, options.routeKeys().length > 0),
  )
  const logRefusal = seldom((error, unsaid) => log.warn({ err: error, unsaid }, 'a person was turned away'))
  listener.server.on('upgrade', (request: IncomingMessage, socket: Duplex, early: Buffer) => {
    // Whatever breaks, `close` follows.
    socket.on('error', () => undefined)
    admit(request, socket, early, options, state).catch((error: unknown) => {
      state.refused++
      logRefusal(error)
      refuseUpgrade(socket, error, limits.handshakeMs)
    })
  })
  return listener
}

/** At most once a second: strangers must not fill the log. What was left out is counted. */
function seldom(say: (error: unknown, unsaid: number) => void): (error: unknown) => void {
  let saidAt = Number.NEGATIVE_INFINITY
  let unsaid = 0
  return (error) => {
    const now = performance.now()
    if (now - saidAt < 1000) {
      unsaid++
      return
    }
    say(error, unsaid)
    saidAt = now
    unsaid = 0
  }
}

/** The route token admits to the gateway; what it opens, the host decides by the ticket inside the channel. */
async function admit(
  request: IncomingMessage,
  socket: Duplex,
  early: Buffer,
  options: GatewayOptions,
  { spares, pairs, sessions }: GatewayState,
): Promise<void> {
  checkRequest(request, options.allowedOrigins)
  const { host, session } = verifyRoute(routeTokenOf(request), options.routeKeys(), options.clock())
  if (options.isRevoked(host))
    throw new GatewayError('GATEWAY_HOST_REVOKED', 'the host of this session was withdrawn')
  const leaving = new AbortController()
  const count = (sessions.get(session) ?? 0) + 1
  if (count > options.limits.connectionsPerSession)
    throw new GatewayError('GATEWAY_BUSY', `this session has ${count - 1} connections already`, {
      remedy: 'Close its other windows, then try again.',
    })
  sessions.set(session, count)
  socket.once('close', () => {
    leaving.abort()
    const left = (sessions.get(session) ?? 1) - 1
    if (left > 0) sessions.set(session, left)
    else sessions.delete(session)
  })
  const spare = await spares.take(host, leaving.signal)
  // Either may have gone while the other was waited for.
  if (socket.destroyed || spare.destroyed) {
    socket.destroy()
    spare.destroy()
    return
  }
  spare.write(headForHost(request, session), 'latin1')
  if (early.length > 0) spare.write(early)
  pairs.join(host, socket, spare)
  options.log.info({ host, session }, 'a person was joined to a host')
}

function checkRequest({ method, url, headers }: IncomingMessage, allowedOrigins: readonly string[]): void {
  if (url !== channelPath) throw new GatewayError('GATEWAY_NO_SUCH_PATH', `expected ${channelPath}`)
  if (method !== 'GET' || headers.upgrade?.toLowerCase() !== 'websocket')
    throw new GatewayError('GATEWAY_NO_SUCH_PROTOCOL', 'expected an upgrade to websocket')
  if (headers.origin !== undefined && !allowedOrigins.includes(headers.origin)) {
    throw new GatewayError(
      'GATEWAY_FOREIGN_ORIGIN',
      'this page is not of the site that this gateway serves',
      {
        remedy: 'Open the session from the site, or add its address to the allowed origins of the gateway.',
      },
    )
  }
}

function answer({ method, url }: IncomingMessage, response: ServerResponse, isReady: boolean): void {
  if (method !== 'GET') return answerError(response, new GatewayError('GATEWAY_NO_SUCH_PATH', 'expected GET'))
  switch (url) {
    case '/':
      response.writeHead(200, pageHeaders).end(page)
      return
    case '/healthz':
      response.writeHead(200, { 'Content-Type': 'text/plain' }).end('ok\n')
      return
    case '/readyz':
      if (isReady) response.writeHead(200, { 'Content-Type': 'text/plain' }).end('ready\n')
      else answerError(response, new GatewayError('GATEWAY_NOT_READY', 'the site has not been heard yet'))
      return
    default:
      answerError(
        response,
        new GatewayError('GATEWAY_NO_SUCH_PATH', 'this is a gateway, and there is nothing here', {
          remedy: 'Use the address of the site.',
        }),
      )
  }
}

/** For people whose browser has to be told to trust the certificate: they open it in a tab of its own. */
const page = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Trustcast gateway</title>
<h1>This is a Trustcast gateway</h1>
<p>Your browser trusts it. You can close this tab.</p>
</html>
`
const pageHeaders = {
  'Content-Type': 'text/html; charset=utf-8',
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cache-Control': 'no-store',
} as const
