import type { IncomingMessage, ServerResponse } from 'node:http'
import type { z } from 'zod'
import { deviceDisplayRequest, deviceLaunchRequest, type HandedBy } from '#core/api/handoff.ts'
import { type CodedError, isCoded } from '#core/errors/coded-error.ts'
import { type DeviceRoute, HandoffError, maxDeviceBodyBytes } from '#core/handoff/index.ts'
import type { Asker } from './asker.ts'
import type { DeviceService } from './endpoint-service.ts'
import { ServiceError } from './service-error.ts'

/** What the two ways into the service have in common: the loopback port and the unix socket. */

const status: Readonly<Record<string, number>> = {
  DEVICE_ORIGIN_REFUSED: 403,
  DEVICE_HOST_REFUSED: 403,
  DEVICE_NO_ROUTE: 404,
  DEVICE_TOO_LARGE: 413,
  DEVICE_NOT_JSON: 415,
  DEVICE_NO_TICKET: 400,
  SERVICE_BAD_REQUEST: 400,
  SERVICE_NO_ACCOUNT: 403,
  SERVICE_NO_SCREEN: 404,
  LOCAL_VM_UNKNOWN: 404,
  SERVICE_TOO_FAST: 429,
  SERVICE_FULL: 503,
  SITE_AWAY: 503,
}

/** @param by which of the two ways it came. @throws {ServiceError} {HandoffError} and what a launch throws */
export async function serveRoute(
  service: DeviceService,
  route: DeviceRoute,
  by: HandedBy,
  request: IncomingMessage,
  asker: Asker,
): Promise<unknown> {
  if (route === 'status') return service.status(asker)
  const text = await readBody(request)
  if (route === 'launch')
    return service.launch(
      parse(deviceLaunchRequest, text, '{"code": "…"} with a code of the portal').code,
      by,
      asker,
    )
  return service.display(
    parse(deviceDisplayRequest, text, '{"sessionId": "…"} of a session of the portal').sessionId,
    asker,
  )
}

export function answer(
  response: ServerResponse,
  code: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  response
    .writeHead(code, {
      ...headers,
      'content-type': 'application/json',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    })
    .end(JSON.stringify(body))
}

/** The one table from errors to answers here; a refusal of the site keeps its code. */
export function answerError(
  response: ServerResponse,
  error: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  // What follows a refused head is not read.
  const closing = { ...headers, connection: 'close' }
  if (!isCoded(error))
    return answer(response, 500, { code: 'SERVICE_BROKEN', message: 'the service broke' }, closing)
  answer(response, status[error.code] ?? 403, inWords(error), closing)
}

/** What anybody here can bring about again and again: whoever asked is told, and the log is not filled. */
export function isAnswerEnough(error: unknown): boolean {
  return error instanceof ServiceError || error instanceof HandoffError
}

function inWords({ code, message, remedy }: CodedError): object {
  return { code, message, ...(remedy !== undefined && { remedy }) }
}

/** @throws {ServiceError} SERVICE_BAD_REQUEST */
export async function readBody(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  let length = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length
    if (length > maxDeviceBodyBytes)
      throw new ServiceError('SERVICE_BAD_REQUEST', `expected ${maxDeviceBodyBytes} bytes at most, got more`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}

/** @param expected in words. @throws {ServiceError} SERVICE_BAD_REQUEST */
export function parse<Request>(schema: z.ZodType<Request>, text: string, expected: string): Request {
  try {
    return schema.parse(JSON.parse(text))
  } catch (cause) {
    throw new ServiceError('SERVICE_BAD_REQUEST', `expected ${expected}`, { cause })
  }
}

/** A bucket that fills with time: a page that asks without end is refused, a person never. */
export function createPace(burst: number, perSecond: number, nowMs: () => number): () => void {
  let left = burst
  let at = nowMs()
  return () => {
    const now = nowMs()
    left = Math.min(burst, left + (Math.max(0, now - at) / 1000) * perSecond)
    at = now
    if (left < 1) throw new ServiceError('SERVICE_TOO_FAST', 'this device is asked too often')
    left -= 1
  }
}
