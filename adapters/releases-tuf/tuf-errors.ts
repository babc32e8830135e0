import { LengthOrHashMismatchError, UnsignedMetadataError } from '@tufjs/models/dist/error.js'
import { BadVersionError, ExpiredMetadataError, RepositoryError } from 'tuf-js/dist/error.js'
import { ReleaseError, type ReleaseErrorCode } from '#core/release/index.ts'

/**
 * What tuf-js found wrong with a role's metadata, with a code of ours. Anything else is as it was: a bug or a lost disk.
 *
 * @param role whose metadata it is, for people
 */
export function releaseErrorOf(error: unknown, role: string): unknown {
  const code = codeOf(error, role)
  if (code === undefined) return error
  const [problem, remedy] = explanations[code]
  return new ReleaseError(code, `${role}: ${problem}`, { remedy, cause: error })
}

type Code = Extract<
  ReleaseErrorCode,
  | 'RELEASE_BELOW_THRESHOLD'
  | 'RELEASE_EXPIRED'
  | 'RELEASE_MISMATCH'
  | 'RELEASE_ROLLBACK'
  | 'RELEASE_VERSION_GAP'
>

const explanations: Readonly<Record<Code, readonly [problem: string, remedy: string]>> = {
  RELEASE_BELOW_THRESHOLD: [
    'fewer keys than must have signed it',
    'Nothing was used. Ask whoever signs releases; the site or the way to it may be attacked.',
  ],
  RELEASE_EXPIRED: [
    'its time is up',
    'Check the clock of this computer. Otherwise the site has not renewed it, or somebody holds newer ones back.',
  ],
  RELEASE_MISMATCH: [
    'it is not the one that was published together with the rest',
    'Try again in a minute; if it stays, the site or the way to it may be attacked.',
  ],
  RELEASE_ROLLBACK: [
    'it is older than what this computer has seen',
    'Nothing was used. The site was restored from a backup (how it goes on is in docs/disks.md, “Restore”), or somebody shows an old state.',
  ],
  RELEASE_VERSION_GAP: [
    'it does not follow the one before it',
    'Nothing was used. Ask whoever signs the root.',
  ],
}

function codeOf(error: unknown, role: string): Code | undefined {
  if (error instanceof UnsignedMetadataError) return 'RELEASE_BELOW_THRESHOLD'
  if (error instanceof LengthOrHashMismatchError) return 'RELEASE_MISMATCH'
  if (error instanceof ExpiredMetadataError) return 'RELEASE_EXPIRED'
  if (error instanceof BadVersionError) {
    if (role === 'root') return 'RELEASE_VERSION_GAP'
    return role === 'timestamp' || role === 'snapshot' ? 'RELEASE_ROLLBACK' : 'RELEASE_MISMATCH'
  }
  // A file that an earlier snapshot had is missing in this one, or there is none of this role.
  if (error instanceof RepositoryError) return role === 'snapshot' ? 'RELEASE_ROLLBACK' : 'RELEASE_MISMATCH'
  return undefined
}
