import { generateKeyPairSync } from 'node:crypto'
import { memorySigner, type ReleaseSigner } from './keys.ts'
import { proposeRelease } from './propose-release.ts'
import { proposeFamily, proposeRoot } from './propose-roles.ts'
import { type Proposals, publish, type Repository } from './publish.ts'
import { addSignature } from './signatures.ts'

/** The first moment of these tests, Unix ms. */
export const start: number = Date.parse('2026-01-01T00:00:00Z')
export const day: number = 24 * 60 * 60 * 1000

/** People and the site, with keys that were made for this run. Bob's key is of the kind that tokens hold. */
export interface Cast {
  readonly alice: ReleaseSigner
  readonly bob: ReleaseSigner
  readonly carol: ReleaseSigner
  readonly mallory: ReleaseSigner
  readonly site: { readonly snapshot: ReleaseSigner; readonly timestamp: ReleaseSigner }
}

export function makeSigner(name: string, kind: 'ed25519' | 'p256' = 'ed25519'): ReleaseSigner {
  const { privateKey } =
    kind === 'ed25519' ? generateKeyPairSync('ed25519') : generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return memorySigner(privateKey, name)
}

export function makeCast(): Cast {
  return {
    alice: makeSigner('alice'),
    bob: makeSigner('bob', 'p256'),
    carol: makeSigner('carol'),
    mallory: makeSigner('mallory'),
    site: { snapshot: makeSigner('snapshot'), timestamp: makeSigner('timestamp') },
  }
}

export async function signBy(bytes: Uint8Array, ...signers: readonly ReleaseSigner[]): Promise<Uint8Array> {
  let signed = bytes
  for (const signer of signers) signed = await addSignature(signed, signer)
  return signed
}

/** A manifest as far as releases care: some bytes. */
export function manifestOf(text: string): Uint8Array {
  return Buffer.from(`{"version":"${text}"}\n`)
}

export function twoOfThree({ alice, bob, carol }: Cast): {
  keys: ReleaseSigner['publicKey'][]
  threshold: number
} {
  return { keys: [alice, bob, carol].map(({ publicKey }) => publicKey), threshold: 2 }
}

/** A root that two of alice, bob and carol must sign, not signed yet. */
export function firstRoot(cast: Cast, expiresAtMs: number = start + 365 * day): Uint8Array {
  const { snapshot, timestamp } = cast.site
  return proposeRoot({
    root: twoOfThree(cast),
    targets: twoOfThree(cast),
    snapshot: snapshot.publicKey,
    timestamp: timestamp.publicKey,
    expiresAtMs,
  })
}

export function publishBy(
  cast: Cast,
  current: Repository | undefined,
  proposals: Proposals,
  nowMs: number = start,
): Promise<Repository> {
  return publish({ current, proposals, onlineKeys: cast.site, nowMs })
}

/** A repository of which two of three people signed a root, the image `debian`, and its releases `1` to `count`. */
export async function makeRepository(
  cast: Cast,
  count: number = 1,
  nowMs: number = start,
): Promise<Repository> {
  const root = await signBy(firstRoot(cast, nowMs + 365 * day), cast.alice, cast.bob)
  const family = { ...twoOfThree(cast), name: 'debian', expiresAtMs: nowMs + 90 * day }
  const targets = await signBy(proposeFamily(family), cast.alice, cast.carol)
  let repository = await publishBy(cast, undefined, { root, targets }, nowMs)
  for (let index = 1; index <= count; index++) {
    repository = await releaseBy(cast, repository, String(index), nowMs)
  }
  return repository
}

/** Releases one more version of `debian`, signed by bob and carol. */
export async function releaseBy(
  cast: Cast,
  repository: Repository,
  version: string,
  nowMs: number = start,
): Promise<Repository> {
  const proposed = proposeRelease({
    current: repository.families.get('debian'),
    name: 'debian',
    version,
    manifestBytes: manifestOf(version),
    expiresAtMs: nowMs + 90 * day,
  })
  const signed = await signBy(proposed, cast.bob, cast.carol)
  return publishBy(cast, repository, { families: new Map([['debian', signed]]) }, nowMs)
}

/** The code that something was refused with; anything else fails the test. */
export async function codeOf(action: () => unknown): Promise<string> {
  try {
    await action()
  } catch (error) {
    if (error instanceof Error && 'code' in error) return String(error.code)
    throw error
  }
  return 'nothing was refused'
}
