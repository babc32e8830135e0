export {
  type CacheDirectory,
  type CacheDirectoryOptions,
  type CacheDirectoryStats,
  type CacheLog,
  openCacheDirectory,
} from './cache-directory.ts'
