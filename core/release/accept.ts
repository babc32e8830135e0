import type { VerifiedDirection } from './direction.ts'
import { ReleaseError } from './errors.ts'
import type { SignedRelease } from './propose-release.ts'

/**
 * What an endpoint remembers of each image: the highest counter that it has accepted. It outlives caches.
 *
 * Concurrency: any number of callers, in any number of processes. INVARIANT: a floor is never lowered.
 */
export interface Floors {
  /** 0 for an image that was never accepted. */
  get(name: string): Promise<number>
  /** Of every image that was accepted, by its name. */
  all(): Promise<readonly (readonly [name: string, counter: number])[]>
  /** Raises a floor, durably; does nothing when it is as high already. */
  raise(name: string, counter: number): Promise<void>
}

/** What may be used, and what to remember before it is. */
export interface AcceptedRelease {
  readonly release: SignedRelease
  readonly floor: number
}

/**
 * Decides whether an endpoint uses a release: the director asks for it, the release keys signed exactly that, and it is
 * not older than what this endpoint has accepted before (I1, I4).
 *
 * @param release what the release keys signed under the directed name and version; undefined when nothing
 * @param floor from `Floors`
 * @throws {ReleaseError} RELEASE_NOT_SIGNED, RELEASE_ROLLBACK
 */
export function acceptRelease({
  direction,
  release,
  floor,
}: {
  readonly direction: VerifiedDirection
  readonly release: SignedRelease | undefined
  readonly floor: number
}): AcceptedRelease {
  const { name, version, counter, manifestDigest } = direction
  if (release === undefined || release.name !== name || release.version !== version) {
    throw notSigned(`${name}:${version}`)
  }
  if (release.counter !== counter || release.manifestDigest !== manifestDigest) {
    throw notSigned(`${name}:${version} with this manifest and counter`)
  }
  if (release.counter < floor) {
    throw new ReleaseError(
      'RELEASE_ROLLBACK',
      `${name}:${version} is release ${release.counter}, this endpoint has accepted release ${floor}`,
      {
        remedy: `It is used here again once its channel has come to release ${floor}. To go back, the older image must be released anew: trustcast image rollback.`,
      },
    )
  }
  return { release, floor: release.counter }
}

function notSigned(what: string): ReleaseError {
  return new ReleaseError('RELEASE_NOT_SIGNED', `the release keys did not sign ${what}`, {
    remedy: 'Nothing was used. Tell whoever runs the site: it directs to something that nobody signed.',
  })
}
