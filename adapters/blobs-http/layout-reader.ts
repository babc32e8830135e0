import {
  type BlobDigest,
  BlobError,
  type BlobReader,
  decodeOciIndex,
  digestHex,
  digestOf,
  findImage,
  type ImageReference,
  maximumIndexBytes,
  maximumManifestBytes,
  type OciIndex,
  requireReference,
} from '#core/blobs/index.ts'
import { HttpClient, type HttpOptions } from './http-client.ts'
import { readRange } from './read-range.ts'
import { statusError } from './transport-error.ts'

/**
 * Reads an OCI image layout behind a web server that answers range requests: a folder that nginx serves, a CDN.
 *
 * @param url from `parseStoreAddress`, ends with `/`
 * @throws {BlobError} BLOB_BAD_STORE when it would be spoken to without encryption
 */
export function openHttpLayout(url: string, options: HttpOptions = {}): BlobReader {
  return new HttpLayout(new URL(url), options)
}

class HttpLayout implements BlobReader {
  readonly name: string
  readonly #client: HttpClient
  readonly #path: string

  constructor(url: URL, options: HttpOptions) {
    this.#client = new HttpClient(url, options)
    this.name = url.origin + url.pathname
    this.#path = url.pathname
  }

  async read(digest: BlobDigest, offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array> {
    const path = `${this.#path}blobs/sha256/${digestHex(digest)}`
    return readRange((request) => this.#client.exchange(request), path, { digest, offset, length, signal })
  }

  async manifest(reference: ImageReference, signal?: AbortSignal): Promise<Uint8Array | undefined> {
    requireReference(reference)
    const descriptor = findImage(await this.#index(signal), reference)
    if (descriptor === undefined) return undefined
    const { digest, size } = descriptor
    if (size > maximumManifestBytes) {
      throw new BlobError(
        'BLOB_WRONG_ANSWER',
        `${digest}: expected a manifest of at most ${maximumManifestBytes} bytes, got ${size}`,
      )
    }
    const bytes = await this.read(digest, 0, size, signal)
    if (digestOf(bytes) === digest) return bytes
    throw new BlobError('BLOB_WRONG_ANSWER', `the manifest ${digest} is damaged: it has another digest`)
  }

  async references(signal?: AbortSignal): Promise<readonly ImageReference[]> {
    const { entries } = await this.#index(signal)
    return entries.flatMap(({ reference }) => (reference === undefined ? [] : [reference]))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client[Symbol.dispose]()
  }

  async #index(signal?: AbortSignal): Promise<OciIndex> {
    const path = `${this.#path}index.json`
    const answer = await this.#client.exchange({
      method: 'GET',
      path,
      // A cache in between must not hide a version that was just published.
      headers: { 'cache-control': 'no-cache' },
      maximumBytes: maximumIndexBytes,
      signal,
    })
    if (answer.status === 200) return decodeOciIndex(answer.body)
    if (answer.status === 404 || answer.status === 410) {
      throw new BlobError(
        'BLOB_BAD_STORE',
        `${this.name} holds no OCI image layout: there is no index.json`,
        {
          remedy: 'Name the address of the folder that holds index.json.',
        },
      )
    }
    throw statusError(answer, this.#client.origin + path)
  }
}
