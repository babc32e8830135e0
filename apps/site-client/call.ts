import { type KeyObject, randomBytes } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { isIP } from 'node:net'
import { connect, createSecureContext, getCACertificates, type SecureContext, type TLSSocket } from 'node:tls'
import type { z } from 'zod'
import { channelBinding, isUnknownAuthority, whyUnreachable } from '#adapters/pki-x509/index.ts'
import { apiRefusal } from '#core/api/words.ts'
import { CodedError, type CodedErrorOptions } from '#core/errors/coded-error.ts'
import {
  attestationHeader,
  endpointProofHeader,
  makeEndpointProof,
  quotedProof,
} from '#core/identity/endpoint-proof.ts'
import { makeProof, type ProofKeyPair, proofHeader } from '#core/identity/proof.ts'
import type { Attestation } from '#core/tpm/index.ts'

/** A refusal of the site, with the site's own code. */
export class ApiRefusal extends CodedError {
  /** Seconds after which asking again makes sense; undefined where the site does not say so. */
  readonly retryAfter: number | undefined

  constructor(
    code: string,
    message: string,
    { retryAfter, ...options }: CodedErrorOptions & { readonly retryAfter?: number | undefined } = {},
  ) {
    super(code, message, options)
    this.retryAfter = retryAfter
  }
}

/** Nobody answers where the site should be, or somebody else does. */
export class SiteAwayError extends CodedError<'SITE_AWAY'> {
  protected static override readonly remedies = { SITE_AWAY: 'Check the address and that the site runs.' }
}

/** The site answers, with more than is read. */
export class AnswerTooLongError extends CodedError<'ANSWER_TOO_LONG'> {}

/** The site answers what this version does not know. */
export class AnswerUnknownError extends CodedError<'ANSWER_UNKNOWN'> {
  protected static override readonly remedies = {
    ANSWER_UNKNOWN: 'Bring this program to the version of the site, or the site to the version of this.',
  }
}

export interface SiteAddress {
  /** `https://name:port` */
  readonly url: string
  /** PEM of an authority to trust beside the machine's own. */
  readonly ca: string | undefined
}

/** What a command line on an endpoint co-signs its person's requests with. */
export interface EndpointCredentials {
  readonly id: string
  readonly siteId: string
  readonly key: KeyObject
  /** A quote of the TPM that it was enrolled with over 32 bytes; undefined when that cannot be had now. Absent without a TPM. */
  readonly quoteOver?: (extraData: Uint8Array) => Promise<Attestation | undefined>
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
 * Sends one request to the site's API, over a connection of its own. On an endpoint its key signs over which: so the site sees when somebody
 * in between opens it, also one whose authority this machine trusts.
 *
 * @param path from `/api/v1` on
 * @throws {SiteAwayError} SITE_AWAY; {AnswerTooLongError} ANSWER_TOO_LONG; {ApiRefusal} with the site's code
 */
export async function call(
  site: SiteAddress,
  request: { readonly method: string; readonly path: string; readonly body?: unknown },
  credentials?: Credentials,
): Promise<Answer> {
  const body = request.body === undefined ? Buffer.alloc(0) : Buffer.from(JSON.stringify(request.body))
  const headers: Record<string, string> =
    body.length > 0 ? { 'content-type': 'application/json', 'content-length': String(body.length) } : {}
  const { method, path } = request
  const socket = await connectTo(site)
  if (credentials !== undefined) {
    headers['cookie'] = credentials.cookie
    const nowMs = Date.now()
    const { keyPair, endpoint } = credentials
    const proof = await makeProof({ method, path, body, keyPair, nowMs, random: randomBytes(16) })
    headers[proofHeader] = proof
    if (endpoint !== undefined) {
      const { id: endpointId, siteId, key } = endpoint
      const exporter = channelBinding(socket)
      const token = makeEndpointProof({ endpointId, siteId, key, proof, nowMs, exporter })
      headers[endpointProofHeader] = token
      const attestation = await endpoint.quoteOver?.(quotedProof(token))
      if (attestation !== undefined)
        headers[attestationHeader] = Buffer.from(JSON.stringify(attestation)).toString('base64url')
    }
  }
  const answer = await send(socket, site, { method, path, headers, body })
  if (answer.status >= 400) throw refusalOf(answer, site, credentials)
  return answer
}

/**
 * Like `call`, with the answer's JSON checked.
 *
 * @throws {AnswerUnknownError} ANSWER_UNKNOWN
 */
export async function callJson<T>(
  site: SiteAddress,
  request: { readonly method: string; readonly path: string; readonly body?: unknown },
  schema: z.ZodType<T>,
  credentials?: Credentials,
): Promise<T> {
  const { body } = await call(site, request, credentials)
  try {
    return schema.parse(JSON.parse(String(body)))
  } catch (cause) {
    const { method, path } = request
    throw new AnswerUnknownError('ANSWER_UNKNOWN', `${site.url} answers ${method} ${path} in another way`, {
      cause,
    })
  }
}

/** Sites whose certificate only an authority of the machine's own vouches for. Reading all of these takes a third of a second. */
const vouchedByMachine = new Set<string>()

/** Reading the authorities takes longer than all else of a short request, and some MiB. */
const contexts = new Map<string, SecureContext>()

/** What `tls` options trust the site by. */
export function trustOf({ url, ca }: SiteAddress): { readonly secureContext: SecureContext } {
  const isByMachine = vouchedByMachine.has(url)
  const key = JSON.stringify([isByMachine, ca])
  let secureContext = contexts.get(key)
  if (secureContext === undefined) {
    const machine = isByMachine ? getCACertificates('system') : []
    const all = [...getCACertificates('default'), ...machine, ...(ca === undefined ? [] : [ca])]
    secureContext = createSecureContext({ ca: all, minVersion: 'TLSv1.3' })
    contexts.set(key, secureContext)
  }
  return { secureContext }
}

/**
 * Opens a connection to a site that Node's own authorities, the site's or the machine's vouch for. A proxy that the machine trusts
 * gets through here: it is the site that finds it.
 *
 * @throws {SiteAwayError} SITE_AWAY
 */
export async function connectTo(site: SiteAddress): Promise<TLSSocket> {
  try {
    return await open(site)
  } catch (error) {
    if (!isUnknownAuthority(error) || vouchedByMachine.has(site.url)) throw away(site, error)
  }
  vouchedByMachine.add(site.url)
  return open(site).catch((error: unknown) => {
    vouchedByMachine.delete(site.url)
    throw away(site, error)
  })
}

async function open(site: SiteAddress): Promise<TLSSocket> {
  const { hostname, port } = new URL(site.url)
  const host = hostname.replace(/^\[|\]$/g, '')
  const socket = connect({
    host,
    port: Number(port === '' ? 443 : port),
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...trustOf(site),
    timeout: timeoutMs,
  })
  const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>()
  socket.on('timeout', () => socket.destroy(new Error(`no answer in ${timeoutMs / 1000} s`)))
  socket.once('error', reject).once('close', () => reject(new Error('the connection was closed')))
  socket.once('secureConnect', () => resolve(socket))
  return promise
}

async function send(
  socket: TLSSocket,
  site: SiteAddress,
  {
    method,
    path,
    headers,
    body,
  }: {
    readonly method: string
    readonly path: string
    readonly headers: Readonly<Record<string, string>>
    readonly body: Buffer
  },
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  const { host } = new URL(site.url)
  const request = httpRequest(
    { method, path, headers: { host, ...headers }, createConnection: () => socket },
    (response) => {
      const parts: Buffer[] = []
      let length = 0
      response.on('data', (part: Buffer) => {
        length += part.length
        if (length <= maxAnswerBytes) {
          parts.push(part)
          return
        }
        reject(
          new AnswerTooLongError(
            'ANSWER_TOO_LONG',
            `${site.url} answers ${method} ${path} with more than ${maxAnswerBytes} bytes`,
            { remedy: 'Ask for less at once: a part of it, or a search.' },
          ),
        )
        request.destroy()
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
  request.on('error', (cause) => reject(away(site, cause)))
  // A request over a connection that is gone already hears of nothing, for ever.
  const gone = (): void => reject(away(site, new Error('the connection was closed')))
  socket.once('close', gone)
  if (socket.destroyed) gone()
  request.end(body)
  return promise.finally(() => socket.destroy())
}

export function away({ url }: Pick<SiteAddress, 'url'>, cause: unknown): SiteAwayError {
  return new SiteAwayError('SITE_AWAY', `${url} cannot be reached: ${whyUnreachable(cause)}`, { cause })
}

function refusalOf({ status, body }: Answer, { url }: SiteAddress, credentials?: Credentials): Error {
  try {
    const { code, message, remedy: ofSite, retryAfter } = apiRefusal.parse(JSON.parse(String(body)))
    // Without a cookie it is somebody else's sign-in that is over, such as that of the browser which handed a launch over.
    const isOwn = code === 'NOT_SIGNED_IN' && (credentials?.cookie ?? '') !== ''
    const remedy = isOwn ? `Run: trustcast login ${url}` : ofSite
    return new ApiRefusal(code, message, { retryAfter, ...(remedy === undefined ? {} : { remedy }) })
  } catch (cause) {
    return new SiteAwayError('SITE_AWAY', `the site answered ${status} with something else than JSON`, {
      cause,
    })
  }
}
