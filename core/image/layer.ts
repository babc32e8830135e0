import type { ByteSource } from '#core/block/block-device.ts'

/** A part of a layer, from where the one before it ended. */
export type Segment =
  | { readonly kind: 'data'; readonly length: number; readonly source: ByteSource; readonly at: number }
  | { readonly kind: 'zero' | 'hole'; readonly length: number }
  /** Not in this layer: what the parent has there. */
  | { readonly kind: 'parent'; readonly length: number }

/** One image file of a chain: it knows where each part of the disk is. Sizes and positions are below 2^53. */
export interface Layer {
  readonly sizeBytes: number
  /** Preferred size of a read, a power of two. */
  readonly blockSize: number
  /** Where a range inside the layer is, in order; the lengths add up to `length`. */
  map(offset: number, length: number, signal?: AbortSignal): Promise<readonly Segment[]>
}

/** What a differencing disk says about its parent. */
export interface ParentReference {
  readonly format: 'vhd' | 'vhdx'
  /** Identities, one of which the parent has: VHD unique id, VHDX DataWriteGuid. In lower case, with hyphens. */
  readonly identities: readonly string[]
  /** When the parent file had last changed, in seconds since 1970; `undefined` where the format does not say. */
  readonly modifiedSeconds: number | undefined
  /** Where it was, the most useful first. Written by others: hints to search by, never to be opened unchecked. */
  readonly paths: readonly ParentPath[]
}

export interface ParentPath {
  /** `relative` to the child's folder; `absolute` and `volume` are of the Windows machine that made it. */
  readonly kind: 'relative' | 'absolute' | 'volume' | 'name'
  readonly path: string
}

/** The parent's file; the image that asked for it owns the source from then on. */
export interface FoundParent {
  readonly source: ByteSource
  /** When the file last changed, in seconds since 1970. Where given it must be what the child says. */
  readonly modifiedSeconds?: number
}

/**
 * Finds the file of a parent; `undefined` if there is none. Called once for each level of a chain.
 *
 * @param isParent whether a file is the one that is looked for; leaves it open. What is returned is checked again.
 */
export type ResolveParent = (
  reference: ParentReference,
  isParent: (found: FoundParent) => Promise<boolean>,
) => Promise<FoundParent | undefined>

export interface OpenOptions {
  /** Without it a differencing disk is refused with IMAGE_PARENT_MISSING. */
  readonly resolveParent?: ResolveParent
  readonly signal?: AbortSignal
}
