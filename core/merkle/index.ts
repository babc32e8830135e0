export { MerkleError, type MerkleErrorCode } from './errors.ts'
export {
  entryOf,
  fanOut,
  levelsOf,
  maximumLevels,
  pageBytes,
  pageDigest,
  verifyPage,
} from './page.ts'
export { buildTree, type Tree, type TreePage, usedSlots } from './tree.ts'
