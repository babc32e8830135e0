import { hash } from 'node:crypto'
import {
  decodeMetadata,
  familyRole,
  findRelease,
  listReleases,
  ReleaseError,
  rootRole,
  type SignedRelease,
  verifyMetadata,
} from '#core/release/index.ts'
import { type ReleaseFetch, type TrustedRoles, updateRoles } from './update-roles.ts'

export type { ReleaseFetch } from './update-roles.ts'

export interface ReleasesOptions {
  /** Where metadata is kept between runs: what was seen stays seen. */
  readonly dir: string
  /** The first root that this computer ever trusted: from its enrolment, or with a digest that came another way. */
  readonly rootBytes: Uint8Array
  /** SHA-256 of that root, hexadecimal, if it came from somewhere that is not trusted. */
  readonly rootDigest?: string
  readonly fetch: ReleaseFetch
}

/**
 * What the release keys have signed, as an endpoint sees it.
 *
 * Concurrency: calls may overlap; refreshes happen one after another. Repetition: all calls may be repeated.
 */
export interface Releases {
  /**
   * Learns what is current. What was learnt before a failure is kept: it still guards against going back.
   *
   * @throws {ReleaseError} RELEASE_BELOW_THRESHOLD, RELEASE_EXPIRED, RELEASE_MISMATCH, RELEASE_ROLLBACK,
   *   RELEASE_VERSION_GAP, RELEASE_MALFORMED and what else is wrong with bytes; whatever `fetch` throws
   */
  refresh(signal?: AbortSignal): Promise<void>

  /**
   * A release as the keys signed it; undefined when they did not. Without a refresh, what was kept serves while its
   * time is not up; then this refreshes.
   *
   * @throws {ReleaseError} as `refresh`
   */
  release(name: string, version: string, signal?: AbortSignal): Promise<SignedRelease | undefined>

  /** All releases of an image, the newest first; empty when nobody signs for it. Throws as `release`. */
  list(name: string, signal?: AbortSignal): Promise<readonly SignedRelease[]>
}

/**
 * Opens the releases of one site.
 *
 * @throws {ReleaseError} RELEASE_OTHER_ROOT, RELEASE_MALFORMED, RELEASE_BELOW_THRESHOLD for a root that did not sign itself
 */
export async function openReleases(options: ReleasesOptions): Promise<Releases> {
  checkFirstRoot(options)
  let roles: TrustedRoles | undefined
  let last: Promise<unknown> = Promise.resolve()
  // One after another: two at once would each miss what the other learns.
  const inTurn = <T>(action: () => Promise<T>): Promise<T> => {
    const turn = last.then(action, action)
    last = turn.catch(() => undefined)
    return turn
  }
  const update = async (signal: AbortSignal | undefined, fetch?: ReleaseFetch): Promise<TrustedRoles> => {
    roles = undefined
    roles = await updateRoles({ ...options, fetch }, signal)
    return roles
  }
  const kept = async (signal: AbortSignal | undefined): Promise<TrustedRoles> => {
    try {
      return await update(signal)
    } catch (error) {
      if (!(error instanceof ReleaseError)) throw error
      return update(signal, options.fetch)
    }
  }
  const family = (name: string, signal?: AbortSignal) =>
    inTurn(async () => verifiedFamily(roles ?? (await kept(signal)), name, options.fetch, signal))
  return {
    refresh: (signal) =>
      inTurn(async () => {
        await update(signal, options.fetch)
      }),
    async release(name, version, signal) {
      const releases = await family(name, signal)
      return releases && findRelease(releases, name, version)
    },
    async list(name, signal) {
      const releases = await family(name, signal)
      return releases === undefined ? [] : listReleases(releases, name)
    },
  }
}

/** @throws {ReleaseError} see `openReleases` */
export function checkFirstRoot({
  rootBytes,
  rootDigest,
}: Pick<ReleasesOptions, 'rootBytes' | 'rootDigest'>): void {
  const digest = hash('sha256', rootBytes)
  if (rootDigest !== undefined && digest !== rootDigest) {
    throw new ReleaseError('RELEASE_OTHER_ROOT', `expected the root ${rootDigest}, got ${digest}`, {
      remedy: 'Nothing was used. Compare the digest with whoever signs the root.',
    })
  }
  const { signed } = decodeMetadata('root', rootBytes)
  verifyMetadata('root', rootBytes, rootRole(signed, 'root'))
}

/** After tuf-js the chain is verified once more by our own reading of it: two must be wrong for one to slip through. */
async function verifiedFamily(
  roles: TrustedRoles,
  name: string,
  fetch: ReleaseFetch,
  signal: AbortSignal | undefined,
) {
  checkTime(roles)
  const { signed: root } = decodeMetadata('root', roles.root)
  const { signed: targets } = verifyMetadata('targets', roles.targets, rootRole(root, 'targets'))
  const role = familyRole(targets, name)
  if (role === undefined || !roles.has(name)) return undefined
  const family = verifyMetadata('family', await roles.family(name, fetch, signal), role)
  // It may have come from memory.
  if (Date.parse(family.signed.expires) <= Date.now()) throw expired(name, family.signed.expires)
  return family
}

/** tuf-js compares with the time of its refresh, which may be long ago. */
function checkTime({ root, timestamp, snapshot, targets }: TrustedRoles): void {
  for (const [kind, bytes] of Object.entries({ root, timestamp, snapshot, targets })) {
    const { expires } = decodeMetadata(kind as 'root' | 'timestamp' | 'snapshot' | 'targets', bytes).signed
    if (Date.parse(expires) <= Date.now()) throw expired(kind, expires)
  }
}

function expired(role: string, expires: string): ReleaseError {
  return new ReleaseError('RELEASE_EXPIRED', `${role} was good until ${expires}`, {
    remedy: 'Connect to the site, so that what is current can be learnt again.',
  })
}
