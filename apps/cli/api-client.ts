import { randomBytes } from 'node:crypto'
import { request as httpsRequest } from 'node:https'
import { rootCertificates } from 'node:tls'
import type { z } from 'zod'
import type { EndpointCredentials } from '#apps/endpoint/endpoint-agent.ts'
import { apiError } from '#core/api/words.ts'
import { CodedError } from '#core/errors/coded-error.ts'
import { endpointProofHeader, makeEndpointProof } from '#core/identity/endpoint-proof.ts'
import { makeProof, type ProofKeyPair, proofHeader } from '#core/identity/proof.ts'
import { CliError } from './cli-error.ts'

/** A refusal of the site, with the site's own code. */
export class ApiRefusal extends CodedError {}

export interface SiteAddress {
  /** `https://name:port` */
  readonly url: string
  /** PEM of an authority to trust beside the machine's own. */
  readonly ca: string | undefined
}

export interface Credentials {
  readonly cookie: string
  readonly keyPair: ProofKeyPair
  /** Of the enrolled machine that the person is at. */
  readonly endpoint?: EndpointCredentials
}

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  readonly body: Buffer
}

const timeoutMs = 30_000
const maxAnswerBytes = 64 * 1024 * 1024

/**
 * Sends one request to the site's API.
 *
 * @param path from `/api/v1` on
 * @throws {CliError} CLI_SITE_AWAY; {ApiRefusal} with the site's code
 */
export async function call(
  site: SiteAddress,
  request: { readonly method: string; readonly path: string; readonly body?: unknown },
  credentials?: Credentials,
): Promise<Answer> {
  const body = request.body === undefined ? Buffer.alloc(0) : Buffer.from(JSON.stringify(request.body))
  const headers: Record<string, string> =
    body.length > 0 ? { 'content-type': 'application/json', 'content-length': String(body.length) } : {}
  if (credentials !== undefined) {
    headers['cookie'] = credentials.cookie
    const nowMs = Date.now()
    const { keyPair, endpoint } = credentials
    const { method, path } = request
    const proof = await makeProof({ method, path, body, keyPair, nowMs, random: randomBytes(16) })
    headers[proofHeader] = proof
    if (endpoint !== undefined) {
      const { id: endpointId, siteId, key } = endpoint
      headers[endpointProofHeader] = makeEndpointProof({ endpointId, siteId, key, proof, nowMs })
    }
  }
  const answer = await send(site, request.method, request.path, headers, body)
  if (answer.status >= 400) throw refusalOf(answer)
  return answer
}

/** Like `call`, with the answer's JSON checked. */
export async function callJson<T>(
  site: SiteAddress,
  request: { readonly method: string; readonly path: string; readonly body?: unknown },
  schema: z.ZodType<T>,
  credentials?: Credentials,
): Promise<T> {
  const { body } = await call(site, request, credentials)
  return schema.parse(JSON.parse(String(body)))
}

/** What `tls` options trust the site by. */
export function trustOf({ ca }: SiteAddress): { readonly ca?: string[] } {
  return ca === undefined ? {} : { ca: [...rootCertificates, ca] }
}

async function send(
  site: SiteAddress,
  method: string,
  path: string,
  headers: Record<string, string>,
  body: Buffer,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      new URL(path, site.url),
      { method, headers, ...trustOf(site), agent: false, timeout: timeoutMs },
      (response) => {
        const parts: Buffer[] = []
        let length = 0
        response.on('data', (part: Buffer) => {
          length += part.length
          if (length > maxAnswerBytes)
            request.destroy(new Error(`an answer has at most ${maxAnswerBytes} bytes`))
          parts.push(part)
        })
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(parts),
          }),
        )
        response.on('error', reject)
      },
    )
    request.on('timeout', () => request.destroy(new Error(`no answer in ${timeoutMs / 1000} s`)))
    request.on('error', (cause) =>
      reject(
        new CliError('CLI_SITE_AWAY', `${site.url} cannot be reached: ${cause.message}`, {
          remedy: 'Check the address and that the site runs.',
          cause,
        }),
      ),
    )
    request.end(body)
  })
}

function refusalOf({ status, body }: Answer): Error {
  try {
    const { code, message, remedy } = apiError.parse(JSON.parse(String(body)))
    return new ApiRefusal(code, message, remedy === undefined ? {} : { remedy })
  } catch (cause) {
    return new CliError('CLI_SITE_AWAY', `the site answered ${status} with something else than JSON`, {
      cause,
    })
  }
}
