import type { ReleaseFetch } from '#adapters/releases-tuf/index.ts'
import { ApiRefusal, call, type SiteAddress } from './call.ts'

/** What the site publishes of its releases, file by file; signed, so that nobody need trust the way. */
export function releaseMetadata(site: SiteAddress): ReleaseFetch {
  return async (file, maxBytes) => {
    try {
      const { body } = await call(site, { method: 'GET', path: `/api/v1/releases/metadata/${file}` })
      return body.subarray(0, maxBytes + 1)
    } catch (error) {
      if (error instanceof ApiRefusal && error.code === 'NOT_FOUND') return undefined
      throw error
    }
  }
}
