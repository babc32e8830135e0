import { BlobError, decodeAnswer, requireConfidential } from '#core/blobs/index.ts'
import { fields, list, type Shape, string } from '#core/json/index.ts'
import { HttpClient, type HttpOptions } from './http-client.ts'
import type { HttpAnswer, HttpRequest } from './http-message.ts'
import { type Credentials, RegistryAuth } from './registry-auth.ts'
import { statusError } from './transport-error.ts'

export interface RegistryOptions extends HttpOptions {
  readonly credentials?: Credentials
}

export interface RegistryRequest extends HttpRequest {
  /** What a token must allow, such as `repository:images/debian:pull`. */
  readonly scopes: readonly string[]
}

/** Servers that blobs are kept on, and the token server. */
const maximumOtherOrigins = 8
/** Bound lists that come in pages, all of them together. */
const maximumPages = 1000
const maximumListBytes = 16_777_216
export const maximumEntries = 65_536

const errorAnswer = fields({ errors: list(fields({ code: string }), 1, maximumEntries) })

/** Asks a registry, with what it wants to see as authorization, and whatever else it sends us to. */
export class RegistryClient implements Disposable {
  readonly #own: HttpClient
  readonly #others = new Map<string, HttpClient>()
  readonly #options: RegistryOptions
  readonly #auth: RegistryAuth

  constructor(url: URL, options: RegistryOptions) {
    this.#own = new HttpClient(url, options)
    this.#options = options
    this.#auth = new RegistryAuth(options.credentials, (url, request) => this.#exchangeAt(url, request))
  }

  async ask(request: RegistryRequest): Promise<HttpAnswer> {
    for (let refusals = 0; ; refusals++) {
      const authorization = await this.#auth.header(request.scopes, request.signal)
      const headers = { ...request.headers, ...(authorization !== undefined && { authorization }) }
      const answer = await this.#own.exchange({ ...request, headers })
      // Once to learn what is wanted, once more because a token had just expired.
      if (answer.status !== 401 || refusals >= 2) return answer
      if (!(await this.#auth.refused(answer, request.scopes, authorization))) return answer
    }
  }

  /**
   * As `ask`, and follows one redirect: many registries keep their blobs elsewhere and name a signed address. No
   * credentials of ours go there.
   */
  async askForBlob(request: RegistryRequest): Promise<HttpAnswer> {
    const answer = await this.ask(request)
    const location = answer.headers['location']
    if (answer.status < 301 || answer.status > 308 || answer.status === 304 || location === undefined) {
      return answer
    }
    if (!URL.canParse(location, this.#own.origin)) throw statusError(answer, request.path)
    const { method, range, maximumBytes, signal } = request
    return this.#exchangeAt(new URL(location, this.#own.origin), {
      method,
      ...(range && { range }),
      maximumBytes,
      signal,
    })
  }

  /**
   * The entries of a list that comes in pages.
   *
   * Spec: OCI distribution "Listing Tags": `Link: <…>; rel="next"`
   *
   * @returns the answer's status instead when it is not 200
   * @throws {BlobError} BLOB_WRONG_ANSWER also when it is too long
   */
  async list(
    request: Omit<RegistryRequest, 'method' | 'maximumBytes'>,
    page: Shape<readonly string[]>,
  ): Promise<readonly string[] | HttpAnswer> {
    const entries: string[] = []
    let path: string | undefined = request.path
    let maximumBytes = maximumListBytes
    for (let pages = 0; path !== undefined; pages++) {
      if (pages === maximumPages) throw wrong(`${request.path}: expected at most ${maximumPages} pages`)
      const answer: HttpAnswer = await this.ask({ ...request, path, method: 'GET', maximumBytes })
      if (answer.status !== 200) return answer
      const found = decodeAnswer(answer.body, maximumBytes, page, path)
      maximumBytes -= answer.body.length
      if (entries.length + found.length > maximumEntries) throw tooManyEntries(request.path)
      for (const entry of found) entries.push(entry)
      path = this.#nextPage(answer)
    }
    return entries
  }

  /** A path of this registry, from a Location or Link of its. @throws {BlobError} BLOB_WRONG_ANSWER */
  ownPath(location: string): string {
    const isAddress = location !== '' && URL.canParse(location, this.#own.origin)
    const url = isAddress ? new URL(location, this.#own.origin) : undefined
    if (url?.origin === this.#own.origin) return url.pathname + url.search
    throw new BlobError(
      'BLOB_WRONG_ANSWER',
      `expected an address at ${this.#own.origin}, got ${JSON.stringify(location.slice(0, 200))}`,
      {
        remedy:
          'Have whatever stands before the registry tell it how it was asked, by Host ($http_host in nginx) and X-Forwarded-Proto, or let the registry answer with relative addresses (http.relativeurls of docker-registry).',
      },
    )
  }

  [Symbol.dispose](): void {
    for (const client of [this.#own, ...this.#others.values()]) client[Symbol.dispose]()
  }

  #nextPage({ headers }: HttpAnswer): string | undefined {
    const [, next] = /<([^<>]{1,4096})>\s*;\s*rel="?next"?/.exec(headers['link'] ?? '') ?? []
    return next === undefined ? undefined : this.ownPath(next)
  }

  async #exchangeAt(url: URL, request: Omit<HttpRequest, 'path'>): Promise<HttpAnswer> {
    return this.#clientAt(url).exchange({ ...request, path: url.pathname + url.search })
  }

  #clientAt(url: URL): HttpClient {
    requireConfidential(url)
    if (url.origin === this.#own.origin) return this.#own
    const known = this.#others.get(url.origin)
    if (known !== undefined) return known
    if (this.#others.size >= maximumOtherOrigins) {
      throw new BlobError('BLOB_BAD_STORE', `the registry sends to more than ${maximumOtherOrigins} servers`)
    }
    const { headers: _headers, identity: _identity, credentials: _credentials, ...shared } = this.#options
    const client = new HttpClient(url, shared)
    this.#others.set(url.origin, client)
    return client
  }
}

/** The codes of a registry's refusal; empty when the answer is not one of a registry. Spec: OCI distribution "Error Codes". */
export function errorCodes({ body }: HttpAnswer): readonly string[] {
  try {
    return decodeAnswer(body, body.length, errorAnswer, 'refusal').errors.map(({ code }) => code)
  } catch {
    return []
  }
}

function wrong(message: string): BlobError {
  return new BlobError('BLOB_WRONG_ANSWER', message)
}

/** @param what was listed */
export function tooManyEntries(what: string): BlobError {
  return new BlobError('BLOB_WRONG_ANSWER', `${what}: expected at most ${maximumEntries} entries`, {
    remedy: 'Name the image and its version, or another store.',
  })
}
