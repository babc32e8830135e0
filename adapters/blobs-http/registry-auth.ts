import { BlobError, decodeAnswer } from '#core/blobs/index.ts'
import { fields, number, optional, string } from '#core/json/index.ts'
import { type Challenge, parseChallenges } from './challenge.ts'
import type { HttpAnswer, HttpRequest } from './http-message.ts'
import { statusError } from './transport-error.ts'

export interface Credentials {
  readonly user: string
  readonly password: string
}

/** Sends a request to any address that invariant I2 allows; only the store's own gets its headers and certificate. */
export type ExchangeAt = (url: URL, request: Omit<HttpRequest, 'path'>) => Promise<HttpAnswer>

const maximumTokens = 256
const maximumTokenBytes = 65_536
/** Used no longer than until this before its end. */
const marginMs = 5000

const tokenAnswer = fields({
  token: optional(string),
  access_token: optional(string),
  expires_in: optional(number(0, 86_400)),
})

interface Token {
  readonly value: string
  readonly expiresAt: number
}

/**
 * What a registry wants to see in `Authorization`: nothing, a password (RFC 7617), or a token for each scope (RFC 6750)
 * that a token server gives for it. The registry says which, by refusing the first request.
 */
export class RegistryAuth {
  readonly #credentials: Credentials | undefined
  readonly #exchangeAt: ExchangeAt
  readonly #tokens = new Map<string, Promise<Token>>()
  #wanted: Challenge | undefined

  constructor(credentials: Credentials | undefined, exchangeAt: ExchangeAt) {
    this.#credentials = credentials
    this.#exchangeAt = exchangeAt
  }

  /**
   * @param scopes such as `repository:images/debian:pull`
   * @returns undefined while nothing is known to be wanted
   * @throws {BlobError} what asking for a token meets
   */
  async header(scopes: readonly string[], signal?: AbortSignal): Promise<string | undefined> {
    const wanted = this.#wanted
    if (wanted === undefined) return undefined
    if (wanted.scheme === 'basic') return this.#basic()
    return `Bearer ${(await this.#token(wanted, scopes, signal)).value}`
  }

  /**
   * @param used what `header` had answered; a newer token, which another request fetched meanwhile, stays
   * @returns whether it is worth while to ask again, with a new `header`
   */
  async refused(
    { headers }: HttpAnswer,
    scopes: readonly string[],
    used: string | undefined,
  ): Promise<boolean> {
    const challenges = parseChallenges(headers['www-authenticate'] ?? '')
    const bearer = challenges.find(({ scheme, parameters }) => scheme === 'bearer' && parameters.has('realm'))
    const basic = challenges.find(({ scheme }) => scheme === 'basic')
    const wanted = bearer ?? (this.#credentials === undefined ? undefined : basic)
    if (wanted === undefined) return false
    this.#wanted = wanted
    const key = scopes.join(' ')
    const asking = this.#tokens.get(key)
    const token = await asking?.catch(() => undefined)
    if (used === `Bearer ${token?.value}` && this.#tokens.get(key) === asking) this.#tokens.delete(key)
    return true
  }

  #basic(): string | undefined {
    if (this.#credentials === undefined) return undefined
    const { user, password } = this.#credentials
    return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
  }

  /** Requests of the same scope share a token, and the wait for it. */
  async #token(wanted: Challenge, scopes: readonly string[], signal?: AbortSignal): Promise<Token> {
    const key = scopes.join(' ')
    for (let known = this.#tokens.get(key); known !== undefined; known = this.#tokens.get(key)) {
      const token = await known.catch(() => undefined)
      if (token !== undefined && token.expiresAt > Date.now()) return token
      // The first that finds it useless fetches another, which the others then find.
      if (this.#tokens.get(key) === known) this.#tokens.delete(key)
    }
    const asking = this.#askToken(wanted, scopes, signal)
    this.#tokens.set(key, asking)
    const [oldest] = this.#tokens.keys()
    if (this.#tokens.size > maximumTokens && oldest !== undefined) this.#tokens.delete(oldest)
    return asking
  }

  async #askToken(
    { parameters }: Challenge,
    scopes: readonly string[],
    signal?: AbortSignal,
  ): Promise<Token> {
    const realm = parameters.get('realm') ?? ''
    if (!URL.canParse(realm)) throw malformed(`expected the address of a token server, got ${shown(realm)}`)
    const url = new URL(realm)
    const service = parameters.get('service')
    if (service !== undefined) url.searchParams.set('service', service)
    for (const scope of scopes) url.searchParams.append('scope', scope)
    const authorization = this.#basic()
    const answer = await this.#exchangeAt(url, {
      method: 'GET',
      ...(authorization !== undefined && { headers: { authorization } }),
      maximumBytes: maximumTokenBytes,
      signal,
    })
    if (answer.status !== 200) throw statusError(answer, `token of ${url.origin}`)
    return decodeToken(answer.body)
  }
}

/** Spec: distribution "Token Authentication Specification": `token` or `access_token`, good for 60 s if it does not say. */
function decodeToken(body: Uint8Array): Token {
  const { token, access_token, expires_in = 60 } = decodeAnswer(body, maximumTokenBytes, tokenAnswer, 'token')
  const value = token ?? access_token ?? ''
  if (!/^[\x21-\x7e]+$/.test(value)) throw malformed('expected a token of printable characters')
  return { value, expiresAt: Date.now() + expires_in * 1000 - marginMs }
}

function malformed(message: string): BlobError {
  return new BlobError('BLOB_WRONG_ANSWER', message)
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 100))
}
