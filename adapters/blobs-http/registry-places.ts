import { type BlobDigest, BlobError, decodeOciManifest, digestsOf } from '#core/blobs/index.ts'

/** Two of the largest images. */
const maximumPlaces = 131_072
const parallelRequests = 16
/** OCI distribution-spec "Pulling manifests": one part of a repository's name. */
const component = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/

/** Remembers in which repository of a registry a blob is; the ones learnt last. */
export class Places {
  readonly #repositories = new Map<BlobDigest, string>()

  of(digest: BlobDigest): string | undefined {
    return this.#repositories.get(digest)
  }

  set(digest: BlobDigest, repository: string): void {
    this.#repositories.delete(digest)
    this.#repositories.set(digest, repository)
    const [oldest] = this.#repositories.keys()
    if (this.#repositories.size > maximumPlaces && oldest !== undefined) this.#repositories.delete(oldest)
  }

  forget(digest: BlobDigest): void {
    this.#repositories.delete(digest)
  }

  /** The blobs of a manifest are where it is. One that is not understood teaches nothing; its reader will say so. */
  learn(repository: string, manifest: Uint8Array): void {
    let digests: Iterable<BlobDigest>
    try {
      digests = digestsOf(decodeOciManifest(manifest))
    } catch {
      return
    }
    for (const digest of digests) this.set(digest, repository)
  }
}

/** @throws {BlobError} BLOB_BAD_REFERENCE when registries do not take this name of an image */
export function repositoryName(name: string): string {
  if (component.test(name)) return name
  throw new BlobError('BLOB_BAD_REFERENCE', `registries do not take the name ${JSON.stringify(name)}`, {
    remedy: 'Use single dots and underscores, and dashes, only between letters and digits.',
  })
}

/** Runs an action for each item, a few at a time; ends with the first that fails. */
export async function parallel<T>(items: readonly T[], action: (item: T) => Promise<unknown>): Promise<void> {
  const rest = items.values()
  const work = async () => {
    for (const item of rest) await action(item)
  }
  await Promise.all(Array.from({ length: Math.min(parallelRequests, items.length) }, work))
}
