import { channelProtocol, routePrefix } from '#core/agent/messages.ts'
import { GatewayError } from './gateway-error.ts'

/** The head of an HTTP request as Node's parser gives it: names and values in turn, as they came. */
export interface RequestHead {
  readonly method?: string | undefined
  readonly url?: string | undefined
  readonly rawHeaders: readonly string[]
}

/** Tells the host which session a person comes for. A hint: the host believes only the ticket inside the channel. */
export const sessionHeader = 'X-Trustcast-Session'

/**
 * The route token that travels among the WebSocket subprotocols, since browsers let scripts set no other header.
 *
 * Source: RFC 6455, section 11.3.4: the header may occur several times, each with a list
 *
 * @throws {GatewayError} GATEWAY_NO_SUCH_PROTOCOL
 */
export function routeTokenOf(head: RequestHead): string {
  const offered = headerLines(head)
    .filter(([name]) => isProtocol(name))
    .flatMap(([, value]) => value.split(',').map((protocol) => protocol.trim()))
  const routes = offered.filter((protocol) => protocol.startsWith(routePrefix))
  const [route] = routes
  if (route === undefined || routes.length > 1 || !offered.includes(channelProtocol)) {
    throw new GatewayError(
      'GATEWAY_NO_SUCH_PROTOCOL',
      `expected the subprotocols ${channelProtocol} and one ${routePrefix}TOKEN`,
    )
  }
  return route.slice(routePrefix.length)
}

/**
 * The head that the host gets to see: the person's own, line by line, so that the host can answer the WebSocket
 * handshake itself. Left out are the route token and the credentials that a browser adds for whatever else lives under
 * the gateway's name.
 *
 * @returns to be written as latin1, as it was read
 */
export function headForHost(head: RequestHead, session: string): string {
  const kept = headerLines(head).filter(([name]) => !isProtocol(name) && !hidden.has(name.toLowerCase()))
  const lines = [...kept, ['Sec-WebSocket-Protocol', channelProtocol], [sessionHeader, session]]
  const text = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  return `${head.method} ${head.url} HTTP/1.1\r\n${text}\r\n`
}

const hidden: ReadonlySet<string> = new Set(['cookie', 'authorization', sessionHeader.toLowerCase()])

function isProtocol(name: string): boolean {
  return name.toLowerCase() === 'sec-websocket-protocol'
}

function headerLines({ rawHeaders }: RequestHead): readonly (readonly [name: string, value: string])[] {
  return rawHeaders.flatMap((name, index) =>
    index % 2 === 0 ? [[name, rawHeaders[index + 1] ?? ''] as const] : [],
  )
}
