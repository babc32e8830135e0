import {
  type BlobDigest,
  BlobError,
  type BlobStore,
  type Descriptor,
  decodeOciManifest,
  digestOf,
  type ImageReference,
  maximumManifestBytes,
  mediaTypes,
  parseDigest,
  requireReference,
} from '#core/blobs/index.ts'
import { fields, list, nullish, string } from '#core/json/index.ts'
import type { HttpAnswer, HttpRequest } from './http-message.ts'
import { readRange } from './read-range.ts'
import {
  errorCodes,
  maximumEntries,
  RegistryClient,
  type RegistryOptions,
  tooManyEntries,
} from './registry-client.ts'
import { Places, parallel, repositoryName } from './registry-places.ts'
import { statusError } from './transport-error.ts'

export type { Credentials } from './registry-auth.ts'
export type { RegistryOptions } from './registry-client.ts'

const names = nullish(list(string, 0, maximumEntries))
const catalogPage = fields({ repositories: names })
const tagsPage = fields({ tags: names })
const maximumAnswer = 65_536

/**
 * A store in an OCI registry. Image `name:version` is tag `version` of the repository `prefix/name`.
 *
 * Registries keep blobs by repository, this interface does not: blobs are put into a repository of their own,
 * `prefix/trustcast-uploads`, from which `tag` mounts them into the image's. A reader learns from `manifest` where the
 * blobs of an image are; of one it was not asked about it searches the repositories under the prefix.
 *
 * Untagging deletes the manifest, if no other tag needs it; blobs are the registry's own to collect.
 *
 * Spec: OCI distribution-spec 1.1
 *
 * @param address from `parseStoreAddress`
 * @throws {BlobError} BLOB_BAD_STORE when it would be spoken to without encryption
 */
export function openRegistry(
  address: { readonly url: string; readonly prefix: string },
  options: RegistryOptions = {},
): BlobStore {
  return new RegistryStore(new URL(address.url), address.prefix, options)
}

class RegistryStore implements BlobStore {
  readonly name: string
  readonly #client: RegistryClient
  readonly #prefix: string
  readonly #places = new Places()
  readonly #uploads: string

  constructor(url: URL, prefix: string, options: RegistryOptions) {
    this.#client = new RegistryClient(url, options)
    this.#prefix = prefix === '' ? '' : `${prefix}/`
    this.#uploads = `${this.#prefix}trustcast-uploads`
    this.name = `${url.protocol === 'https:' ? 'oci' : 'oci+http'}://${url.host}/${prefix}`
  }

  async read(digest: BlobDigest, offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array> {
    parseDigest(digest)
    const known = this.#places.of(digest)
    if (known !== undefined) {
      try {
        return await this.#readFrom(known, digest, offset, length, signal)
      } catch (error) {
        if (!(error instanceof BlobError) || error.code !== 'BLOB_MISSING') throw error
        this.#places.forget(digest)
      }
    }
    const found = await this.#search(digest, signal)
    if (found === undefined) throw new BlobError('BLOB_MISSING', `${this.name} has no ${digest}`)
    return this.#readFrom(found, digest, offset, length, signal)
  }

  async manifest(reference: ImageReference, signal?: AbortSignal): Promise<Uint8Array | undefined> {
    const repository = this.#repositoryOf(reference)
    const bytes = await this.#manifestOf(repository, reference.version, signal)
    if (bytes !== undefined) this.#places.learn(repository, bytes)
    return bytes
  }

  async references(signal?: AbortSignal, only?: string): Promise<readonly ImageReference[]> {
    const references: ImageReference[] = []
    const repositories =
      only === undefined ? await this.#repositories(signal) : [this.#prefix + repositoryName(only)]
    for (const repository of repositories) {
      const name = repository.slice(this.#prefix.length)
      for (const version of await this.#tags(repository, signal)) {
        const reference = { name, version }
        if (isReference(reference)) references.push(reference)
        if (references.length > maximumEntries) throw tooManyEntries(this.name)
      }
    }
    return references
  }

  async size(digest: BlobDigest, signal?: AbortSignal): Promise<number | undefined> {
    parseDigest(digest)
    const known = this.#places.of(digest)
    const size = known === undefined ? undefined : await this.#sizeIn(known, digest, signal)
    if (size !== undefined || known === this.#uploads) return size
    return this.#sizeIn(this.#uploads, digest, signal)
  }

  async put(digest: BlobDigest, bytes: Uint8Array, signal?: AbortSignal): Promise<void> {
    if ((await this.size(digest, signal)) === bytes.length) return
    await this.#upload(this.#uploads, digest, bytes, await this.#beginUpload(this.#uploads, signal), signal)
  }

  async tag(reference: ImageReference, manifest: Uint8Array, signal?: AbortSignal): Promise<void> {
    const repository = this.#repositoryOf(reference)
    const { config, layers } = decodeOciManifest(manifest)
    const blobs = new Map([config, ...layers].map((blob) => [blob.digest, blob]))
    await parallel([...blobs.values()], (blob) => this.#bring(blob, repository, signal))
    const answer = await this.#client.ask({
      method: 'PUT',
      path: `/v2/${repository}/manifests/${reference.version}`,
      headers: { 'content-type': mediaTypes.manifest },
      body: manifest,
      maximumBytes: maximumAnswer,
      scopes: [`repository:${repository}:pull,push`],
      signal,
    })
    if (answer.status !== 201) throw this.#refusal(answer, `${repository}:${reference.version}`)
  }

  async untag(reference: ImageReference, signal?: AbortSignal): Promise<boolean> {
    const repository = this.#repositoryOf(reference)
    const bytes = await this.#manifestOf(repository, reference.version, signal)
    if (bytes === undefined) return false
    const digest = digestOf(bytes)
    const others = (await this.#tags(repository, signal)).filter((tag) => tag !== reference.version)
    await parallel(others, async (tag) => {
      const other = await this.#manifestOf(repository, tag, signal)
      if (other === undefined || digestOf(other) !== digest) return
      throw new BlobError(
        'BLOB_BAD_STORE',
        `${tag} is the same image as ${reference.version}, and registries delete both or none`,
        {
          remedy: `Give the name ${tag} to another image first.`,
        },
      )
    })
    const answer = await this.#client.ask({
      method: 'DELETE',
      path: `/v2/${repository}/manifests/${digest}`,
      maximumBytes: maximumAnswer,
      scopes: [`repository:${repository}:pull,push,delete`, `repository:${repository}:delete`],
      signal,
    })
    if (answer.status === 404) return false
    if (answer.status === 405) {
      throw new BlobError('BLOB_DENIED', `${this.name} deletes nothing`, {
        remedy: 'Allow the registry to delete, such as storage.delete.enabled of docker-registry.',
      })
    }
    if (answer.status !== 202) throw this.#refusal(answer, `${repository}:${reference.version}`)
    return true
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client[Symbol.dispose]()
  }

  /** @throws {BlobError} BLOB_BAD_REFERENCE, also for a name that registries do not take */
  #repositoryOf(reference: ImageReference): string {
    return this.#prefix + repositoryName(requireReference(reference).name)
  }

  async #readFrom(
    repository: string,
    digest: BlobDigest,
    offset: number,
    length: number,
    signal?: AbortSignal,
  ): Promise<Uint8Array> {
    const scopes = [`repository:${repository}:pull`]
    const exchange = (request: HttpRequest) => this.#client.askForBlob({ ...request, scopes })
    return readRange(exchange, `/v2/${repository}/blobs/${digest}`, { digest, offset, length, signal })
  }

  async #manifestOf(repository: string, tag: string, signal?: AbortSignal): Promise<Uint8Array | undefined> {
    const answer = await this.#client.ask({
      method: 'GET',
      path: `/v2/${repository}/manifests/${tag}`,
      headers: { accept: mediaTypes.manifest },
      maximumBytes: maximumManifestBytes,
      scopes: [`repository:${repository}:pull`],
      signal,
    })
    if (answer.status === 200) return answer.body
    if (answer.status !== 404) throw this.#refusal(answer, `${repository}:${tag}`)
    if (errorCodes(answer).length > 0) return undefined
    throw new BlobError('BLOB_BAD_STORE', `${this.name} answers, but not as a registry does`, {
      remedy: 'Name the address of an OCI registry; the folder of a web server begins with https://.',
    })
  }

  async #sizeIn(repository: string, digest: BlobDigest, signal?: AbortSignal): Promise<number | undefined> {
    const answer = await this.#client.askForBlob({
      method: 'HEAD',
      path: `/v2/${repository}/blobs/${digest}`,
      maximumBytes: 0,
      scopes: [`repository:${repository}:pull`],
      signal,
    })
    if (answer.status === 404) return undefined
    if (answer.status !== 200) throw this.#refusal(answer, digest)
    this.#places.set(digest, repository)
    return Number(answer.headers['content-length'])
  }

  async #search(digest: BlobDigest, signal?: AbortSignal): Promise<string | undefined> {
    if ((await this.#sizeIn(this.#uploads, digest, signal)) !== undefined) return this.#uploads
    for (const repository of await this.#repositories(signal)) {
      if ((await this.#sizeIn(repository, digest, signal)) !== undefined) return repository
    }
    return undefined
  }

  /** Makes a blob part of a repository, without moving its bytes where the registry can do that. */
  async #bring({ digest, size }: Descriptor, repository: string, signal?: AbortSignal): Promise<void> {
    const there = await this.#sizeIn(repository, digest, signal)
    if (there !== undefined) {
      if (there === size) return
      throw new BlobError('BLOB_WRONG_ANSWER', `${digest}: expected ${size} bytes, got ${there}`)
    }
    const from = this.#places.of(digest) ?? (await this.#search(digest, signal))
    if (from === undefined)
      throw new BlobError('BLOB_MISSING', `${this.name} has no ${digest}, which the image needs`)
    const upload = await this.#beginUpload(repository, signal, { digest, from })
    if (upload !== undefined) {
      const bytes = await this.#readFrom(from, digest, 0, size, signal)
      await this.#upload(repository, digest, bytes, upload, signal)
    }
    this.#places.set(digest, repository)
  }

  /** @returns where to send the bytes, or undefined when the blob could be mounted */
  async #beginUpload(
    repository: string,
    signal?: AbortSignal,
    mount?: { readonly digest: BlobDigest; readonly from: string },
  ): Promise<string | undefined> {
    const query = mount === undefined ? '' : `?mount=${mount.digest}&from=${encodeURIComponent(mount.from)}`
    const answer = await this.#client.ask({
      method: 'POST',
      path: `/v2/${repository}/blobs/uploads/${query}`,
      maximumBytes: maximumAnswer,
      scopes: [
        `repository:${repository}:pull,push`,
        ...(mount === undefined ? [] : [`repository:${mount.from}:pull`]),
      ],
      signal,
    })
    if (mount !== undefined && answer.status === 201) return undefined
    if (answer.status !== 202) throw this.#refusal(answer, `upload to ${repository}`)
    return this.#client.ownPath(answer.headers['location'] ?? '')
  }

  async #upload(
    repository: string,
    digest: BlobDigest,
    bytes: Uint8Array,
    path: string | undefined,
    signal?: AbortSignal,
  ): Promise<void> {
    if (path === undefined) return
    const answer = await this.#client.ask({
      method: 'PUT',
      path: `${path}${path.includes('?') ? '&' : '?'}digest=${digest}`,
      headers: { 'content-type': 'application/octet-stream' },
      body: bytes,
      maximumBytes: maximumAnswer,
      scopes: [`repository:${repository}:pull,push`],
      signal,
    })
    if (answer.status !== 201) throw this.#refusal(answer, digest)
    this.#places.set(digest, repository)
  }

  /** @throws {BlobError} BLOB_BAD_STORE when the registry does not list its repositories */
  async #repositories(signal?: AbortSignal): Promise<readonly string[]> {
    const listed = await this.#client.list(
      { path: '/v2/_catalog?n=1000', scopes: ['registry:catalog:*'], signal },
      (page) => catalogPage(page).repositories ?? [],
    )
    if (!('status' in listed)) {
      return listed.filter((repository) => isImageRepository(repository, this.#prefix, this.#uploads))
    }
    if (![401, 403, 404, 405].includes(listed.status)) throw this.#refusal(listed, 'list of repositories')
    throw new BlobError(
      'BLOB_BAD_STORE',
      `${this.name} does not list its repositories: status ${listed.status}`,
      {
        remedy: 'Name the image and its version, or use credentials that may read the catalog.',
      },
    )
  }

  async #tags(repository: string, signal?: AbortSignal): Promise<readonly string[]> {
    const listed = await this.#client.list(
      { path: `/v2/${repository}/tags/list?n=1000`, scopes: [`repository:${repository}:pull`], signal },
      (page) => tagsPage(page).tags ?? [],
    )
    if (!('status' in listed)) return listed
    // A repository that has no tag left is not known any more.
    if (listed.status === 404) return []
    throw this.#refusal(listed, `tags of ${repository}`)
  }

  #refusal(answer: HttpAnswer, what: string): BlobError {
    const codes = errorCodes(answer)
    if (codes.includes('MANIFEST_BLOB_UNKNOWN') || codes.includes('BLOB_UNKNOWN')) {
      return new BlobError('BLOB_MISSING', `${what}: the registry lacks one of its blobs`)
    }
    if (codes.includes('DIGEST_INVALID')) {
      return new BlobError(
        'BLOB_WRONG_ANSWER',
        `${what}: the registry found other bytes than the digest says`,
      )
    }
    return statusError(answer, `${this.name}: ${what}`)
  }
}

function isReference(reference: ImageReference): boolean {
  try {
    requireReference(reference)
    return true
  } catch {
    return false
  }
}

function isImageRepository(repository: string, prefix: string, uploads: string): boolean {
  return (
    repository.startsWith(prefix) &&
    repository !== uploads &&
    isReference({ name: repository.slice(prefix.length), version: '1' })
  )
}
