import type { z } from 'zod'
import {
  type DeviceLaunchAnswer,
  type DeviceStatus,
  deviceDisplayAnswer,
  deviceLaunchAnswer,
  deviceStatus,
} from '#core/api/handoff.ts'
import { apiError } from '#core/api/words.ts'
import { devicePort, displayProtocol, displayTicketPrefix } from '#core/handoff/loopback-request.ts'
import { ApiError } from './errors.ts'

/** The service of the endpoint that this page is shown on, if it is one: on the machine's own loopback address. */

const timeoutMs = 30_000
const address = `127.0.0.1:${devicePort}`

/** @throws {ApiError} DEVICE_AWAY where no service answers, or the browser does not let the page ask */
export async function askDevice(): Promise<DeviceStatus> {
  return ask('/status', undefined, deviceStatus)
}

/** @throws {ApiError} DEVICE_AWAY, and what the service or the site refused it with */
export async function handToDevice(code: string): Promise<DeviceLaunchAnswer> {
  return ask('/launch', { code }, deviceLaunchAnswer)
}

/** @returns the right to show the screen of a session's VM once. @throws {ApiError} DEVICE_AWAY, SERVICE_NO_SCREEN */
export async function displayTicket(sessionId: string): Promise<string> {
  return (await ask('/display', { sessionId }, deviceDisplayAnswer)).ticket
}

/** RFB in binary messages; closes without opening when it is refused. */
export function openDisplay(ticket: string): WebSocket {
  return new WebSocket(`ws://${address}/display`, [displayProtocol, displayTicketPrefix + ticket])
}

export function deviceAway(cause?: unknown): ApiError {
  const message = 'The Trustcast client on this device does not answer.'
  const remedy = 'If the browser asks whether this page may reach this device, allow it.'
  return new ApiError(0, { code: 'DEVICE_AWAY', message, remedy }, cause)
}

async function ask<T>(path: string, body: object | undefined, schema: z.ZodType<T>): Promise<T> {
  let response: Response
  try {
    response = await fetch(`http://${address}${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: body === undefined ? {} : { 'content-type': 'application/json' },
      body: body === undefined ? null : JSON.stringify(body),
      mode: 'cors',
      credentials: 'omit',
      cache: 'no-store',
      redirect: 'error',
      signal: AbortSignal.timeout(timeoutMs),
    })
  } catch (cause) {
    throw deviceAway(cause)
  }
  const said: unknown = await response.json().catch(() => undefined)
  const answer = schema.safeParse(said)
  if (response.ok && answer.success) return answer.data
  const refusal = apiError.safeParse(said)
  if (refusal.success) throw new ApiError(response.status, refusal.data)
  const message = 'The Trustcast client on this device gave an answer that this page does not understand.'
  throw new ApiError(response.status, {
    code: 'DEVICE_ANSWER',
    message,
    remedy: 'Update the client or reload the page.',
  })
}
