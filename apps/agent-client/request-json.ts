import { type RequestOptions, request } from 'node:https'
import type { z } from 'zod'
import { whyUnreachable } from '#adapters/pki-x509/index.ts'
import { apiRefusal } from '#core/api/words.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { AgentError } from './agent-error.ts'

const maxAnswerBytes = 100_000
const timeoutMs = 15_000

/**
 * Sends one request to the site, on a connection of its own, and reads its JSON.
 *
 * @param body sent as JSON by POST
 * @throws {AgentError} AGENT_SITE_AWAY, AGENT_SITE_REFUSED with the site's reason, AGENT_SITE_MALFORMED
 */
export async function postJson<T>(
  url: URL,
  body: unknown,
  answer: z.ZodType<T>,
  tls: RequestOptions,
  signal?: AbortSignal,
): Promise<T> {
  return readJson(await exchange(url, { ...tls, method: 'POST' }, JSON.stringify(body), signal), answer, url)
}

/**
 * Fetches a text from the site.
 *
 * @throws {AgentError} AGENT_SITE_AWAY, AGENT_SITE_REFUSED with the site's reason, AGENT_SITE_MALFORMED
 */
export async function getText(url: URL, tls: RequestOptions, signal?: AbortSignal): Promise<string> {
  return exchange(url, tls, '', signal)
}

async function exchange(
  url: URL,
  options: RequestOptions,
  body: string,
  signal?: AbortSignal,
): Promise<string> {
  const timeout = AbortSignal.timeout(timeoutMs)
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const outgoing = request(url, {
    ...options,
    agent: false,
    headers: body === '' ? {} : { 'Content-Type': 'application/json' },
    signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
  })
  outgoing.on('error', (cause) => reject(isCoded(cause) ? cause : away(url, cause)))
  outgoing.on('response', (response) => {
    const parts: Buffer[] = []
    let length = 0
    response.on('error', reject)
    response.on('data', (part: Buffer) => {
      length += part.length
      parts.push(part)
      if (length > maxAnswerBytes) response.destroy(malformed(url, `more than ${maxAnswerBytes} bytes`))
    })
    response.on('end', () => {
      const text = Buffer.concat(parts).toString()
      const status = response.statusCode ?? 0
      if (status >= 200 && status < 300) resolve(text)
      else reject(refusal(url, status, text))
    })
  })
  outgoing.end(body)
  return promise
}

function refusal(url: URL, status: number, text: string): AgentError {
  const { success, data } = apiRefusal.safeParse(parse(text))
  if (!success) return new AgentError('AGENT_SITE_REFUSED', `${url.href} answered ${status}`)
  const { code, message, remedy } = data
  return new AgentError('AGENT_SITE_REFUSED', `the site refused: ${code}: ${message}`, {
    siteCode: code,
    ...(remedy === undefined ? {} : { remedy }),
  })
}

function readJson<T>(text: string, schema: z.ZodType<T>, url: URL): T {
  const { success, data, error } = schema.safeParse(parse(text))
  if (success) return data
  throw malformed(url, 'what the protocol does not know', error)
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function away(url: URL, cause: Error): AgentError {
  return new AgentError('AGENT_SITE_AWAY', `${url.origin} cannot be reached: ${whyUnreachable(cause)}`, {
    remedy: 'Check the address and that the site runs.',
    cause,
  })
}

function malformed(url: URL, what: string, cause?: unknown): AgentError {
  return new AgentError('AGENT_SITE_MALFORMED', `${url.href} answered ${what}`, {
    remedy: 'Give the address of a site, and bring it and this program to the same version.',
    cause,
  })
}
