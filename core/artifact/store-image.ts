import { isCoded } from '#core/errors/coded-error.ts'
import type { ChunkReader, ChunkReference } from './chunk-reader.ts'
import type { ImageIndex } from './image-index.ts'
import { inTurn, type Patience } from './in-turn.ts'

/** An image as one store has it, each answer verified. */
export type StoreImage = ImageIndex & ChunkReader

/**
 * Asks stores in turn until one answers as was signed. The one that failed is asked last from then on.
 *
 * Stores may keep the same chunks in other packs: each is asked where it has them itself.
 */
export function failover(
  images: readonly [StoreImage, ...StoreImage[]],
  patience: Patience,
  signal: AbortSignal,
): StoreImage {
  let order: readonly StoreImage[] = images
  const homes = new WeakMap<ChunkReference, StoreImage>()
  const ask = <T>(question: (image: StoreImage) => Promise<T>): Promise<T> =>
    inTurn(
      () => order,
      async (image) => {
        try {
          return await question(image)
        } catch (error) {
          order = [...order.filter((other) => other !== image), image]
          throw error
        }
      },
      patience,
      signal,
    )
  return {
    forget: (number) => {
      for (const image of images) image.forget(number)
    },
    leaves: (number) =>
      ask(async (image) => {
        const leaves = await image.leaves(number)
        return {
          ...leaves,
          at: (index) => {
            const reference = leaves.at(index)
            if (reference !== undefined) homes.set(reference, image)
            return reference
          },
        }
      }),
    read: (chunk, wish, take) =>
      ask(async (image) => {
        const own = homes.get(chunk) === image ? chunk : (await image.leaves(chunk.number)).at(chunk.number)
        return image.read(own ?? chunk, wish, take)
      }),
  }
}

const wrongPlace: ReadonlySet<string> = new Set(['ARTIFACT_WRONG_CHUNK', 'BLOB_MISSING', 'BLOB_WRONG_ANSWER'])

/** Has what is kept of the index forgotten where a chunk was not what, or where, the index said. */
export function forgetful(image: StoreImage): StoreImage {
  return {
    ...image,
    read: async (chunk, wish, take) => {
      try {
        return await image.read(chunk, wish, take)
      } catch (error) {
        if (isCoded(error) && wrongPlace.has(error.code)) image.forget(chunk.number)
        throw error
      }
    },
  }
}
