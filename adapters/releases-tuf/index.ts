export { openFloors } from './floors.ts'
export { openReleases, type ReleaseFetch, type Releases, type ReleasesOptions } from './releases.ts'
