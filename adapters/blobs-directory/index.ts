export type { Collection, CollectOptions } from './collect.ts'
export { type DirectoryStore, openDirectoryStore } from './directory-store.ts'
