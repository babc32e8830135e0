export { compareFiles, type FileChange, type IsSame } from './compare-files.ts'
export { type FileEntry, type Files, listFiles } from './ext4-files.ts'
