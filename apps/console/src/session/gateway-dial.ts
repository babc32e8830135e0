import { channelProtocol, routePrefix } from '#core/agent/messages.ts'
import type { Route } from '#core/api/person.ts'
import { type Transport, webSocketTransport } from '#core/channel/index.ts'
import { CodedError } from '#core/errors/coded-error.ts'
import { api } from '../api/api.ts'
import { siteNow } from '../api/client.ts'

export type GatewayErrorCode =
  | 'GATEWAY_UNREACHABLE'
  /** A gateway joined after this page was loaded, whose policy of connections does not name it. */
  | 'GATEWAY_NEW'
export class GatewayError extends CodedError<GatewayErrorCode> {}

const attemptMs = 8000
/** A route that lives no longer than this is not worth a handshake. */
const sparesMs = 5000

/** What a page may connect to is fixed when it is loaded. */
let blocked = false
document.addEventListener('securitypolicyviolation', ({ effectiveDirective }) => {
  if (effectiveDirective === 'connect-src') blocked = true
})

/** Finds a way to the host through one gateway or another. */
export interface GatewayDialer {
  /** @throws {GatewayError} when no gateway could be reached now */
  dial(signal?: AbortSignal): Promise<Transport>
  /** Addresses of the gateways, to be opened in a browser. */
  addresses(): readonly string[]
}

/**
 * Gateways in random order, each time the next one. Expired routes are asked of the site again; while the
 * site is away the cached ones are tried all the same.
 */
export function gatewayDialer(sessionId: string, delivered: readonly Route[]): GatewayDialer {
  let routes = shuffle(delivered)

  async function freshRoutes(): Promise<void> {
    if (routes.some(({ expiresAt }) => Date.parse(expiresAt) > siteNow() + sparesMs)) return
    try {
      routes = shuffle((await api.routes(sessionId)).routes)
    } catch {
      // The cached ones may still do: this computer's clock is not the gateway's.
    }
  }

  return {
    async dial(signal) {
      await freshRoutes()
      for (const route of routes) {
        signal?.throwIfAborted()
        // Also after one that could be reached: who dials again has lost it.
        routes = [...routes.slice(1), route]
        const socket = await openSocket(route, signal)
        if (socket !== undefined) return webSocketTransport(socket)
      }
      if (blocked) throw new GatewayError('GATEWAY_NEW', 'This page is older than the gateways of this site.')
      throw new GatewayError('GATEWAY_UNREACHABLE', 'No gateway of this site can be reached.', {
        remedy: 'Check the network of this computer.',
      })
    },
    addresses: () => routes.map(({ url }) => url.replace(/^ws/, 'http')),
  }
}

/** An open WebSocket, or undefined when it could not be opened: browsers do not tell why. */
async function openSocket(route: Route, signal?: AbortSignal): Promise<WebSocket | undefined> {
  const url = `${route.url.replace(/^http/, 'ws').replace(/\/$/, '')}/channel`
  const socket = new WebSocket(url, [channelProtocol, routePrefix + route.token])
  // Binary from the first message on: one may come in the same turn as the opening.
  socket.binaryType = 'arraybuffer'
  return new Promise((resolve) => {
    const done = (result: WebSocket | undefined): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', give)
      if (result === undefined) socket.close()
      resolve(result)
    }
    const give = (): void => done(undefined)
    const timer = setTimeout(give, attemptMs)
    signal?.addEventListener('abort', give, { once: true })
    socket.addEventListener('open', () => done(socket), { once: true })
    socket.addEventListener('error', give, { once: true })
  })
}

function shuffle<T>(values: readonly T[]): T[] {
  return values
    .map((value) => ({ value, order: Math.random() }))
    .toSorted((a, b) => a.order - b.order)
    .map(({ value }) => value)
}
