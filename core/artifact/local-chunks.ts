import { fanOut } from '#core/merkle/index.ts'
import type { ImageIndex } from './image-index.ts'
import { chunksOf } from './index-format.ts'
import type { ImageManifest } from './manifest.ts'
import type { StoredCache } from './stored-cache.ts'

/** Which chunks of a disk are kept on this machine, as far as is known. */
export class LocalChunks {
  readonly #bits: Uint8Array
  #count = 0

  /** @param chunks of the disk */
  constructor(chunks: number) {
    this.#bits = new Uint8Array(Math.ceil(chunks / 8))
  }

  get count(): number {
    return this.#count
  }

  has(number: number): boolean {
    return (((this.#bits[number >> 3] ?? 0) >> (number & 7)) & 1) === 1
  }

  set(number: number, isLocal: boolean): void {
    const [at, bit] = [number >> 3, 1 << (number & 7)]
    const known = this.#bits[at] ?? 0
    if (((known & bit) !== 0) === isLocal) return
    this.#bits[at] = known ^ bit
    this.#count += isLocal ? 1 : -1
  }
}

/** The name under which this machine keeps a stored chunk. */
export function keptNameOf({ digest }: { readonly digest: Uint8Array }): string {
  return Buffer.from(digest).toString('hex')
}

/** Pages that are looked through before others have their turn. */
const turnPages = 16

/**
 * Finds out which chunks are kept from other times, by their names, behind what is read. Ends early with the signal.
 *
 * @param index that asks no store: a chunk that only a store could find is not on this machine
 */
export async function findLocal(
  local: LocalChunks,
  index: ImageIndex,
  manifest: ImageManifest,
  cache: StoredCache,
  signal: AbortSignal,
): Promise<void> {
  const chunks = chunksOf(manifest)
  for (let [first, seen] = [0, 0]; first < chunks && seen < manifest.storedChunks; first += fanOut) {
    // Absent where it is not kept here.
    const leaves = await index.leaves(first).catch(() => undefined)
    const references = Array.from({ length: fanOut }, (_, at) => leaves?.at(first + at))
    for (const chunk of references.filter((one) => one !== undefined)) {
      seen += 1
      local.set(chunk.number, await cache.has(keptNameOf(chunk)))
    }
    if ((first / fanOut) % turnPages === 0) await new Promise((resolve) => setImmediate(resolve))
    if (signal.aborted) return
  }
}
