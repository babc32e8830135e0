import { HandoffError } from './handoff-error.ts'

/**
 * What the service of an endpoint answers on its loopback port. Every page that any browser of this machine shows can reach that port, so
 * a request is looked at before it is read.
 */

/** Where the service listens unless it is told otherwise; the portal asks there. */
export const devicePort = 8447
export const maxDeviceBodyBytes = 1024

/** The WebSocket subprotocol of a screen: RFB in binary messages. Its ticket travels beside it: browsers let scripts set no other header. */
export const displayProtocol = 'trustcast.display'
export const displayTicketPrefix = 'ticket.'
const displayPath = '/display'

const routes = {
  launch: ['POST', '/launch'],
  status: ['GET', '/status'],
  display: ['POST', displayPath],
} as const
export type DeviceRoute = keyof typeof routes

export interface ArrivedAtDevice {
  readonly method: string
  /** Path and query as they stand in the request line. */
  readonly path: string
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
}

/** Whose requests are answered, and where. */
export interface LoopbackTerms {
  /** Of the site, as a browser says it: `https://name[:port]`. */
  readonly origin: string
  readonly port: number
}

/** `preflight` asks for leave only. */
export type Admitted = { readonly kind: 'preflight' } | { readonly kind: DeviceRoute }

/**
 * Lets a request in or refuses it.
 *
 * INVARIANT I6: only a page of the site itself is answered: the browser says in `Origin` whose page asks, and no page can change that. A
 * name that was made to point at this machine (DNS rebinding) is seen by `Host`.
 *
 * @throws {HandoffError} DEVICE_HOST_REFUSED, DEVICE_ORIGIN_REFUSED, DEVICE_NO_ROUTE, DEVICE_NOT_JSON, DEVICE_TOO_LARGE
 */
export function admit({ method, path, headers }: ArrivedAtDevice, terms: LoopbackTerms): Admitted {
  requireOwnPage(headers, terms)
  if (method === 'OPTIONS') {
    requirePreflight(path, headers)
    return { kind: 'preflight' }
  }
  const kind = routeOf(method, path)
  if (kind !== 'status') requireJson(headers)
  return { kind }
}

/**
 * Lets in a WebSocket that shall show a screen, or refuses it. No browser asks for leave before it opens one, so that the same is required
 * of the opening itself, and a ticket.
 *
 * @returns the ticket
 * @throws {HandoffError} DEVICE_HOST_REFUSED, DEVICE_ORIGIN_REFUSED, DEVICE_NO_ROUTE, DEVICE_NO_TICKET
 */
export function admitDisplay({ method, path, headers }: ArrivedAtDevice, terms: LoopbackTerms): string {
  requireOwnPage(headers, terms)
  if (method !== 'GET' || path !== displayPath)
    throw new HandoffError(
      'DEVICE_NO_ROUTE',
      `expected a WebSocket to ${displayPath}, got ${method} ${quote(path)}`,
    )
  const offered = String(headers['sec-websocket-protocol'] ?? '')
    .split(',')
    .map((name) => name.trim())
  const [ticket, another] = offered.filter((name) => name.startsWith(displayTicketPrefix))
  if (ticket === undefined || another !== undefined || !offered.includes(displayProtocol))
    throw new HandoffError(
      'DEVICE_NO_TICKET',
      `expected the subprotocols ${displayProtocol} and one ${displayTicketPrefix}TICKET`,
    )
  return ticket.slice(displayTicketPrefix.length)
}

function requireOwnPage(headers: ArrivedAtDevice['headers'], { origin, port }: LoopbackTerms): void {
  const loopback = ['127.0.0.1', 'localhost'].map((name) => `${name}:${port}`)
  const { host } = headers
  if (typeof host !== 'string' || !loopback.includes(host.toLowerCase()))
    throw new HandoffError(
      'DEVICE_HOST_REFUSED',
      `expected Host ${loopback.join(' or ')}, got ${quote(host)}`,
    )
  if (headers['origin'] !== origin)
    throw new HandoffError(
      'DEVICE_ORIGIN_REFUSED',
      `expected a page of ${origin}, got ${quote(headers['origin'])}`,
      { remedy: `Open ${origin} in a browser on this device.` },
    )
}

/** Headers that let the site's page read the answer, and nobody else's. */
export function corsHeaders(
  { headers }: ArrivedAtDevice,
  { origin }: Pick<LoopbackTerms, 'origin'>,
  isPreflight: boolean,
): Record<string, string> {
  const asksPrivate = headers['access-control-request-private-network'] === 'true'
  return {
    'access-control-allow-origin': origin,
    vary: 'Origin',
    ...(isPreflight && {
      'access-control-allow-methods': 'GET, POST',
      'access-control-allow-headers': 'content-type',
      'access-control-max-age': '600',
    }),
    ...(isPreflight && asksPrivate && { 'access-control-allow-private-network': 'true' }),
  }
}

function routeOf(method: string, path: string): DeviceRoute {
  for (const [kind, [wantedMethod, wantedPath]] of Object.entries(routes) as [
    DeviceRoute,
    readonly [string, string],
  ][])
    if (method === wantedMethod && path === wantedPath) return kind
  throw new HandoffError(
    'DEVICE_NO_ROUTE',
    `expected POST /launch, POST ${displayPath} or GET /status, got ${method} ${quote(path)}`,
  )
}

function requirePreflight(path: string, headers: ArrivedAtDevice['headers']): void {
  routeOf(String(headers['access-control-request-method']), path)
}

/** A form of another page cannot send this type without asking first. */
function requireJson(headers: ArrivedAtDevice['headers']): void {
  const { 'content-type': type, 'content-length': length } = headers
  if (typeof type !== 'string' || !/^application\/json(;\s*charset=utf-8)?$/i.test(type))
    throw new HandoffError('DEVICE_NOT_JSON', `expected application/json, got ${quote(type)}`)
  if (typeof length !== 'string' || !/^\d{1,9}$/.test(length) || Number(length) > maxDeviceBodyBytes)
    throw new HandoffError(
      'DEVICE_TOO_LARGE',
      `expected a body of ${maxDeviceBodyBytes} bytes at most, its length said before; got ${quote(length)}`,
    )
}

function quote(value: unknown): string {
  return value === undefined ? 'none' : JSON.stringify(value).slice(0, 100)
}
