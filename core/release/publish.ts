import { hash } from 'node:crypto'
import { ReleaseError } from './errors.ts'
import { keyIdOf, type ReleaseSigner } from './keys.ts'
import {
  commonFields,
  decodeMetadata,
  encodeMetadata,
  type FamilySigned,
  type Metadata,
  type MetaFile,
  type RootSigned,
  type TargetsSigned,
} from './metadata.ts'
import { highestCounter } from './propose-release.ts'
import { defaultLifetimes } from './propose-roles.ts'
import {
  familyRole,
  type RoleKeys,
  rootRole,
  signatureState,
  signMetadata,
  verifyMetadata,
} from './signatures.ts'

/** Everything that is published at one time: what endpoints can read. */
export interface Repository {
  /** The newest root; endpoints also need those before it. */
  readonly root: Uint8Array
  readonly targets?: Uint8Array | undefined
  /** By the name of the image. */
  readonly families: ReadonlyMap<string, Uint8Array>
  /** There is none before `targets`. */
  readonly snapshot?: Uint8Array | undefined
  readonly timestamp?: Uint8Array | undefined
}

/** Signed proposals that take effect together: after a rotation of keys, what the new keys signed must come along. */
export interface Proposals {
  readonly root?: Uint8Array | undefined
  readonly targets?: Uint8Array | undefined
  readonly families?: ReadonlyMap<string, Uint8Array>
}

export interface OnlineKeys {
  readonly snapshot: ReleaseSigner
  readonly timestamp: ReleaseSigner
}

export interface PublishOptions {
  /** What is published now; undefined before the first root. */
  readonly current?: Repository | undefined
  /** Nothing to publish means: renew what only says that all is current. */
  readonly proposals: Proposals
  readonly onlineKeys: OnlineKeys
  readonly nowMs: number
  readonly lifetimes?: { readonly snapshot: number; readonly timestamp: number }
}

/**
 * Publishes signed proposals: checks everything that an endpoint will check, and makes the snapshot and timestamp that
 * go with it.
 *
 * Spec: TUF 1.0, section 6 (metadata update workflow of the repository); 5.3 to 5.6 for what is checked
 *
 * @throws {ReleaseError} RELEASE_NO_ROOT, RELEASE_BELOW_THRESHOLD, RELEASE_VERSION_GAP, RELEASE_EXPIRED, RELEASE_COUNTER,
 *   RELEASE_UNKNOWN for an image that nobody was named for, RELEASE_UNKNOWN_KEY for online keys that the root does not
 *   name, and all codes of `decodeMetadata`
 */
export async function publish(options: PublishOptions): Promise<Repository> {
  const { current, proposals, nowMs } = options
  const root = nextRoot(current, proposals.root, nowMs)
  const targets = nextTargets(root.signed, current?.targets, proposals.targets, nowMs)
  const families = nextFamilies(targets?.signed, current?.families, proposals.families, nowMs)
  const next = {
    root: proposals.root ?? current?.root ?? encodeMetadata(root),
    targets: proposals.targets ?? current?.targets,
    families,
  }
  if (next.targets === undefined) return next
  checkOnlineKeys(root.signed, options.onlineKeys)
  return { ...next, ...(await makeSnapshot(options, root.signed, next.targets, families)) }
}

function nextRoot(
  current: Repository | undefined,
  proposal: Uint8Array | undefined,
  nowMs: number,
): Metadata<'root'> {
  const before = current && decodeMetadata('root', current.root)
  if (proposal === undefined) {
    if (before === undefined) throw noRoot()
    checkTime('root', before, nowMs)
    return before
  }
  const next = decodeMetadata('root', proposal)
  checkFollows('root', before, next)
  checkTime('root', next, nowMs)
  const own = rootRole(next.signed, 'root')
  // TUF 5.3.4: the keys of the root before it and its own.
  return before === undefined
    ? verifyMetadata('root', proposal, own)
    : verifyMetadata(
        'root',
        proposal,
        { ...rootRole(before.signed, 'root'), role: 'the root before it' },
        own,
      )
}

function nextTargets(
  root: RootSigned,
  current: Uint8Array | undefined,
  proposal: Uint8Array | undefined,
  nowMs: number,
): Metadata<'targets'> | undefined {
  const bytes = proposal ?? current
  if (bytes === undefined) return undefined
  const next = verifyMetadata('targets', bytes, rootRole(root, 'targets'))
  checkTime('targets', next, nowMs)
  if (proposal === undefined) return next
  const before = current && decodeMetadata('targets', current)
  checkFollows('targets', before, next)
  const kept = new Set(next.signed.delegations.roles.map(({ name }) => name))
  const lost = before?.signed.delegations.roles.find(({ name }) => !kept.has(name))
  if (lost !== undefined) {
    throw new ReleaseError('RELEASE_MISMATCH', `the image ${lost.name} is not delegated any more`, {
      remedy: 'Endpoints refuse a repository that lost an image: delegate it to other keys instead.',
    })
  }
  return next
}

function nextFamilies(
  targets: TargetsSigned | undefined,
  current: ReadonlyMap<string, Uint8Array> = new Map(),
  proposals: ReadonlyMap<string, Uint8Array> = new Map(),
  nowMs: number,
): ReadonlyMap<string, Uint8Array> {
  const next = new Map([...current, ...proposals])
  for (const [name, bytes] of next) {
    const role = targets && familyRole(targets, name)
    if (role === undefined) throw noFamily(name)
    const isProposed = proposals.has(name)
    // What is published already must stay readable under new keys, too.
    const family = isProposed ? verifyMetadata('family', bytes, role) : stillSigned(name, bytes, role)
    if (!isProposed) continue
    const published = current.get(name)
    const before = published && decodeMetadata('family', published)
    checkFollows(name, before, family)
    checkTime(name, family, nowMs)
    checkReleases(name, before?.signed, family.signed)
  }
  return next
}

function stillSigned(name: string, bytes: Uint8Array, role: RoleKeys): Metadata<'family'> {
  if (signatureState(bytes, role).missing === 0) return decodeMetadata('family', bytes)
  throw new ReleaseError('RELEASE_BELOW_THRESHOLD', `the new keys of ${name} have not signed its releases`, {
    remedy: 'Have them sign its releases anew and publish both together.',
  })
}

/** INVARIANT: a release never changes, and counters only grow, by one for each. */
function checkReleases(name: string, before: FamilySigned | undefined, next: FamilySigned): void {
  const old = before?.targets ?? {}
  const highest = before === undefined ? 0 : highestCounter(before)
  const added: number[] = []
  for (const [path, target] of Object.entries(next.targets)) {
    const known = Object.hasOwn(old, path) ? old[path] : undefined
    if (!path.startsWith(`${name}/`)) throw counterError(`${path} is no release of ${name}`)
    if (known === undefined) added.push(target.custom.counter)
    else if (!isSameTarget(known, target)) throw counterError(`the release ${path} was changed`)
  }
  const expected = added.map((_, index) => highest + 1 + index)
  const counters = added.toSorted((a, b) => a - b)
  if (counters.some((counter, index) => counter !== expected[index])) {
    throw counterError(`expected new counters from ${highest + 1} on, got ${counters.join(', ')}`)
  }
  if (highestCounter(next) < highest) throw counterError(`the newest release of ${name} is missing`)
}

function isSameTarget(a: FamilySigned['targets'][string], b: FamilySigned['targets'][string]): boolean {
  return (
    a.length === b.length &&
    a.hashes.sha256 === b.hashes.sha256 &&
    a.custom.counter === b.custom.counter &&
    a.custom.content === b.custom.content
  )
}

async function makeSnapshot(
  { current, onlineKeys, nowMs, lifetimes = defaultLifetimes }: PublishOptions,
  root: RootSigned,
  targets: Uint8Array,
  families: ReadonlyMap<string, Uint8Array>,
): Promise<{ snapshot: Uint8Array; timestamp: Uint8Array }> {
  const before = current?.snapshot && decodeMetadata('snapshot', current.snapshot)
  const meta = {
    'targets.json': metaFileOf('targets', targets),
    ...Object.fromEntries(
      [...families].map(([name, bytes]) => [`${name}.json`, metaFileOf('family', bytes)]),
    ),
  }
  const isCurrent =
    current?.snapshot !== undefined &&
    before !== undefined &&
    isSameMeta(before.signed.meta, meta) &&
    Date.parse(before.signed.expires) - nowMs > lifetimes.snapshot / 2 &&
    signatureState(current.snapshot, rootRole(root, 'snapshot')).missing === 0
  const snapshot = isCurrent
    ? current.snapshot
    : await signed(onlineKeys.snapshot, {
        kind: 'snapshot',
        signed: {
          _type: 'snapshot',
          ...commonFields((before?.signed.version ?? 0) + 1, nowMs + lifetimes.snapshot),
          meta,
        },
        signatures: [],
      })
  const last = current?.timestamp && decodeMetadata('timestamp', current.timestamp).signed.version
  const timestamp = await signed(onlineKeys.timestamp, {
    kind: 'timestamp',
    signed: {
      _type: 'timestamp',
      ...commonFields((last ?? 0) + 1, nowMs + lifetimes.timestamp),
      meta: { 'snapshot.json': metaFileOf('snapshot', snapshot) },
    },
    signatures: [],
  })
  return { snapshot, timestamp }
}

async function signed(signer: ReleaseSigner, metadata: Metadata): Promise<Uint8Array> {
  return encodeMetadata({ ...metadata, signatures: [await signMetadata(metadata, signer)] })
}

/** TUF 1.0, section 4.4: with length and digest, so that nothing is mixed and matched that was not published together. */
function metaFileOf(kind: 'targets' | 'family' | 'snapshot', bytes: Uint8Array): MetaFile {
  const { version } = decodeMetadata(kind, bytes).signed
  return { version, length: bytes.length, hashes: { sha256: hash('sha256', bytes) } }
}

function isSameMeta(a: Readonly<Record<string, MetaFile>>, b: Readonly<Record<string, MetaFile>>): boolean {
  const names = Object.keys(a)
  const isSame = (name: string): boolean =>
    Object.hasOwn(b, name) && a[name]?.hashes.sha256 === b[name]?.hashes.sha256
  return names.length === Object.keys(b).length && names.every(isSame)
}

function checkFollows(role: string, before: Metadata | undefined, next: Metadata): void {
  const expected = (before?.signed.version ?? 0) + 1
  if (next.signed.version === expected) return
  throw new ReleaseError(
    'RELEASE_VERSION_GAP',
    `expected version ${expected} of ${role}, got ${next.signed.version}`,
    { remedy: 'Propose it again on what is published now, and have it signed.' },
  )
}

function checkTime(role: string, { signed }: Metadata, nowMs: number): void {
  if (nowMs < Date.parse(signed.expires)) return
  throw new ReleaseError('RELEASE_EXPIRED', `${role} was good until ${signed.expires}`, {
    remedy: 'Propose it again with a later date, and have it signed.',
  })
}

function checkOnlineKeys(root: RootSigned, { snapshot, timestamp }: OnlineKeys): void {
  if (isNamed(rootRole(root, 'snapshot'), snapshot) && isNamed(rootRole(root, 'timestamp'), timestamp)) return
  throw new ReleaseError('RELEASE_UNKNOWN_KEY', 'the root does not name the keys that this site holds', {
    remedy: "Propose a root anew, which names the site's keys, and have it signed.",
  })
}

function isNamed(role: RoleKeys, { keyId }: ReleaseSigner): boolean {
  return role.keys.some((key) => keyIdOf(key) === keyId)
}

function noRoot(): ReleaseError {
  return new ReleaseError('RELEASE_NO_ROOT', 'nobody has said yet who signs', {
    remedy: 'Propose a root first: trustcast image root',
  })
}

function noFamily(name: string): ReleaseError {
  return new ReleaseError('RELEASE_UNKNOWN', `nobody is named to sign releases of ${name}`, {
    remedy: `Name the keys first: trustcast image delegate ${name}`,
  })
}

function counterError(problem: string): ReleaseError {
  return new ReleaseError('RELEASE_COUNTER', problem, {
    remedy: 'Propose the release again on what is published now.',
  })
}
