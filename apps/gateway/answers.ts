import { type ServerResponse, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import type { ApiError } from '#core/api/words.ts'
import { type CodedError, isCoded } from '#core/errors/coded-error.ts'
import { GatewayError, type GatewayErrorCode } from './gateway-error.ts'

/** How refusals look on the wire: JSON as everywhere in the API. */

const statuses: Readonly<Record<GatewayErrorCode, number>> = {
  GATEWAY_NO_SUCH_PATH: 404,
  GATEWAY_NO_SUCH_PROTOCOL: 400,
  GATEWAY_FOREIGN_ORIGIN: 403,
  GATEWAY_HOST_REVOKED: 403,
  GATEWAY_HOST_AWAY: 503,
  GATEWAY_SPARES_FULL: 503,
  GATEWAY_BUSY: 503,
  GATEWAY_NOT_READY: 503,
  GATEWAY_BROKEN: 500,
}

/** Answers a plain request. */
export function answerError(response: ServerResponse, error: GatewayError): void {
  const [status, body] = describe(error)
  response.writeHead(status, { ...errorHeaders, 'Content-Length': Buffer.byteLength(body) }).end(body)
}

/**
 * Answers an upgrade that is not to be, and closes.
 *
 * @param withinMs how long the peer may take to read it
 */
export function refuseUpgrade(socket: Duplex, error: unknown, withinMs: number): void {
  const [status, body] = describe(error)
  const headers = { ...errorHeaders, 'Content-Length': Buffer.byteLength(body) }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`)
  socket.resume()
  const closing = setTimeout(() => socket.destroy(), withinMs)
  socket.once('close', () => clearTimeout(closing))
}

const errorHeaders = {
  'Content-Type': 'application/json',
  'Cache-Control': 'no-store',
  Connection: 'close',
} as const

function describe(error: unknown): readonly [status: number, body: string] {
  const coded: CodedError = isCoded(error)
    ? error
    : new GatewayError('GATEWAY_BROKEN', 'the gateway failed', { cause: error })
  const { code, message, remedy } = coded
  // Codes of other modules are about the token or certificate that the peer brought.
  const status = coded instanceof GatewayError ? statuses[coded.code] : 403
  const body: ApiError = { code, message, ...(remedy !== undefined && { remedy }) }
  return [status, JSON.stringify(body)]
}
