import { randomBytes } from 'node:crypto'
import { request as httpsRequest } from 'node:https'
import { createLoginKey } from '#apps/cli/login-file.ts'
import type { Credentials } from '#apps/site-client/call.ts'
import { type ApiError, apiError } from '#core/api/words.ts'
import { exportProofKey, makeProof, proofHeader } from '#core/identity/proof.ts'
import { passwordOf, type RunningSite } from '../running-site.rig.ts'

/** A request as no client of ours would make it. */
export interface RawRequest {
  readonly method: string
  /** From `/` on. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  /** Bytes as they are; anything else as JSON. */
  readonly body?: unknown
  /** An address of this machine. */
  readonly from?: string
}

export interface RawAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: Buffer
}

const timeoutMs = 60_000

/** Sends it and waits for the answer; of a stream of events only for its beginning. */
export async function send(site: RunningSite, request: RawRequest): Promise<RawAnswer> {
  const body = bytesOf(request.body)
  const headers = {
    host: new URL(site.url).host,
    ...(body.length > 0 && { 'content-type': 'application/json', 'content-length': String(body.length) }),
    ...request.headers,
  }
  return new Promise((resolve, reject) => {
    const sent = httpsRequest({
      host: '127.0.0.1',
      port: site.port,
      servername: 'localhost',
      ca: site.address.ca,
      method: request.method,
      path: request.path,
      headers,
      agent: false,
      timeout: timeoutMs,
      ...(request.from !== undefined && { localAddress: request.from }),
    })
    sent.on('timeout', () => sent.destroy(new Error(`no answer to ${request.method} ${request.path}`)))
    sent.on('error', reject)
    sent.on('response', (response) => {
      const parts: Buffer[] = []
      const answer = (): void => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts) })
        sent.destroy()
      }
      if (response.headers['content-type'] === 'text/event-stream') return answer()
      response.on('data', (part: Buffer) => parts.push(part))
      response.on('error', reject)
      response.on('end', answer)
    })
    sent.end(body)
  })
}

/** The same, signed as a signed-in client does it. */
export async function sendSigned(
  site: RunningSite,
  credentials: Credentials,
  request: RawRequest,
): Promise<RawAnswer> {
  const { method, path } = request
  const body = bytesOf(request.body)
  const proof = await makeProof({
    method,
    path,
    body,
    keyPair: credentials.keyPair,
    nowMs: Date.now(),
    random: randomBytes(16),
  })
  const headers = { cookie: credentials.cookie, [proofHeader]: proof, ...request.headers }
  return send(site, { ...request, body, headers })
}

/** Signs in from an address. */
export async function signInFrom(
  site: RunningSite,
  login: string,
  from: string,
  password: string = passwordOf(login),
): Promise<Credentials> {
  const keyPair = await createLoginKey()
  const answer = await send(site, {
    method: 'POST',
    path: '/api/v1/web-sessions',
    body: { login, password, key: await exportProofKey(keyPair.publicKey) },
    from,
  })
  if (answer.status !== 201) throw new Error(`${login} could not sign in: ${String(answer.body)}`)
  const [cookie = ''] = String(answer.headers['set-cookie']).split(';')
  return { cookie, keyPair }
}

/** The refusal in an answer; throws when there is none. */
export function refusalIn({ status, body }: RawAnswer): ApiError {
  if (status < 400) throw new Error(`expected a refusal, got ${status} ${String(body).slice(0, 500)}`)
  return apiError.parse(JSON.parse(String(body)))
}

function bytesOf(body: unknown): Buffer {
  if (body === undefined) return Buffer.alloc(0)
  return body instanceof Uint8Array ? Buffer.from(body) : Buffer.from(JSON.stringify(body))
}
