import { appendLeaves, type Frontier, frontierRoot, type Hash, leafHash } from './merkle.ts'

/** A tree after a batch: all that a store must write, in the transaction that writes the entries. */
export interface GrownTree {
  readonly frontier: Frontier
  /** The index of the batch's first entry, the size before it. */
  readonly firstIndex: bigint
  readonly size: bigint
  readonly root: Hash
  /** One for each entry of the batch, in its order. */
  readonly leafHashes: readonly Hash[]
}

/** Appends a batch of encoded entries to the tree behind a frontier. */
export function growTree(before: Frontier, entries: readonly Uint8Array[]): GrownTree {
  const leafHashes = entries.map(leafHash)
  const frontier = appendLeaves(before, leafHashes)
  return { frontier, firstIndex: before.size, size: frontier.size, root: frontierRoot(frontier), leafHashes }
}
