import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import {
  decodeMetadata,
  familyRole,
  maximumMetadataBytes,
  rootRole,
  verifyMetadata,
} from '#core/release/index.ts'
import { checkFirstRoot, type ReleasesOptions } from './releases.ts'
import { newestRoot, updateRoles } from './update-roles.ts'

/**
 * The metadata of one role as it is published, for people who sign what comes after it. All is verified and kept as
 * by `Releases.refresh`, but that expired metadata counts: else nobody could ever renew it. Whoever shows an old state
 * by that only makes more of what is proposed look new, and nothing older than what was seen here once is taken.
 *
 * @param role root, targets or the name of an image
 * @returns undefined when nothing of the role is published, and never was as far as is known here
 * @throws {ReleaseError} as `openReleases` and `Releases.refresh`; whatever `fetch` throws
 */
export async function publishedMetadata(
  options: ReleasesOptions,
  role: string,
  signal?: AbortSignal,
): Promise<Uint8Array | undefined> {
  checkFirstRoot(options)
  const lenient = { ...options, acceptExpired: true }
  if (role === 'root') return newestRoot(lenient, signal)
  if (!(await hasTimestamp(options, signal))) return undefined
  const roles = await updateRoles(lenient, signal)
  // Once more by our own reading: see `openReleases`.
  const { signed: root } = decodeMetadata('root', roles.root)
  const { signed: targets } = verifyMetadata('targets', roles.targets, rootRole(root, 'targets'))
  if (role === 'targets') return roles.targets
  const keys = familyRole(targets, role)
  if (keys === undefined || !roles.has(role)) return undefined
  const bytes = await roles.family(role, options.fetch, signal)
  verifyMetadata('family', bytes, keys)
  return bytes
}

/** There is none before the first targets. One that was kept must be followed by another, whatever the source says. */
async function hasTimestamp(
  { dir, fetch }: ReleasesOptions,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const kept = await readFile(join(dir, 'timestamp.json')).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  return (kept ?? (await fetch('timestamp.json', maximumMetadataBytes.timestamp, signal))) !== undefined
}
