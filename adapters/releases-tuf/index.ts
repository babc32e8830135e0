export { openFloors } from './floors.ts'
export { publishedMetadata } from './published-metadata.ts'
export { openReleases, type ReleaseFetch, type Releases, type ReleasesOptions } from './releases.ts'
