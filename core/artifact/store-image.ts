import type { ChunkReader, ChunkReference } from './chunk-reader.ts'
import type { ImageIndex } from './image-index.ts'

/** An image as one store has it, each answer verified. */
export type StoreImage = ImageIndex & ChunkReader

/**
 * Asks stores in turn until one answers as was signed. The one that failed is asked last from then on.
 *
 * Stores may keep the same chunks in other packs: each is asked where it has them itself.
 */
export function failover(images: readonly [StoreImage, ...StoreImage[]]): StoreImage {
  let order: readonly StoreImage[] = images
  const homes = new WeakMap<ChunkReference, StoreImage>()
  const inTurn = async <T>(ask: (image: StoreImage) => Promise<T>): Promise<T> => {
    let first: { readonly error: unknown } | undefined
    for (const image of order) {
      try {
        return await ask(image)
      } catch (error) {
        first ??= { error }
        order = [...order.filter((other) => other !== image), image]
      }
    }
    throw first?.error
  }
  return {
    leaves: (number) =>
      inTurn(async (image) => {
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
    read: (chunk, wish) =>
      inTurn(async (image) => {
        const own = homes.get(chunk) === image ? chunk : (await image.leaves(chunk.number)).at(chunk.number)
        return image.read(own ?? chunk, wish)
      }),
  }
}
