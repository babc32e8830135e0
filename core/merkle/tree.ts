import { digestBytes, entryOf, fanOut, isHole, levelsOf, pageBytes, pageDigest } from './page.ts'

/** One page of a tree that was built. */
export interface TreePage {
  readonly level: number
  /** Position among the pages of its level, holes counted. */
  readonly index: number
  readonly page: Uint8Array
}

export interface Tree {
  readonly root: Uint8Array
  readonly levels: number
  /** From the root down, level by level, in order; only pages that hold something, and always the root's. */
  readonly pages: readonly TreePage[]
}

/**
 * Builds the tree over leaves of which most may be holes.
 *
 * @param leaves digests by leaf; what is missing is a hole
 * @param count leaves of the tree, holes counted
 */
export function buildTree(
  leaves: Iterable<readonly [index: number, digest: Uint8Array]>,
  count: number,
): Tree {
  const levels = levelsOf(count)
  const byLevel: TreePage[][] = []
  let entries = leaves
  for (let level = 0; level < levels; level++) {
    const pages = pagesOf(level, entries)
    byLevel.push(pages)
    entries = pages.map(({ index, page }) => [index, pageDigest(level, page)] as const)
  }
  const top = byLevel.at(-1)?.[0] ?? { level: levels - 1, index: 0, page: new Uint8Array(pageBytes) }
  byLevel[levels - 1] = [top]
  return { root: pageDigest(levels - 1, top.page), levels, pages: byLevel.toReversed().flat() }
}

function pagesOf(level: number, entries: Iterable<readonly [number, Uint8Array]>): TreePage[] {
  const pages = new Map<number, Uint8Array>()
  for (const [index, digest] of entries) {
    const at = Math.floor(index / fanOut)
    const page = pages.get(at) ?? new Uint8Array(pageBytes)
    page.set(digest, (index % fanOut) * digestBytes)
    pages.set(at, page)
  }
  return [...pages]
    .filter(([, page]) => !isHole(page))
    .toSorted(([a], [b]) => a - b)
    .map(([index, page]) => ({ level, index, page }))
}

/** The slots of a page that are no holes, in order. */
export function usedSlots(page: Uint8Array): readonly number[] {
  return Array.from({ length: fanOut }, (_, slot) => slot).filter((slot) => entryOf(page, slot) !== undefined)
}
