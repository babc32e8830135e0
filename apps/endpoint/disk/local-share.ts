import type { CacheDirectory } from '#adapters/cache-directory/index.ts'
import type { OpenedImage } from '#core/artifact/open-image.ts'

/** When what is kept is looked through: it must not hold up who opens a disk, nor be repeated all the time. */
const firstLookMs = 1_000
const lookAgainMs = 60_000

/** How much of an image is kept on this machine. */
export class LocalShare {
  readonly #image: OpenedImage
  readonly #cache: CacheDirectory | undefined
  /** What had gone from the cache, and when, at the last look. */
  #looked: { readonly gone: number; readonly atMs: number } | undefined

  constructor(image: OpenedImage, cache: CacheDirectory | undefined, signal: AbortSignal) {
    this.#image = image
    this.#cache = cache
    if (cache === undefined) return
    const timer = setTimeout(() => this.#look(), firstLookMs).unref()
    signal.addEventListener('abort', () => clearTimeout(timer))
  }

  /** @returns undefined when nothing is to be kept */
  percent(): number | undefined {
    if (this.#cache === undefined) return undefined
    const { storedChunks } = this.#image.manifest
    if (this.#looked !== undefined && this.#gone() !== this.#looked.gone) {
      if (performance.now() > this.#looked.atMs + lookAgainMs) this.#look()
    }
    return storedChunks === 0 ? 100 : Math.floor((this.#image.localChunks() / storedChunks) * 1000) / 10
  }

  #look(): void {
    this.#looked = { gone: this.#gone(), atMs: performance.now() }
    void this.#image.findLocal()
  }

  #gone(): number {
    const { evicted = 0, refused = 0 } = this.#cache?.stats() ?? {}
    return evicted + refused
  }
}
