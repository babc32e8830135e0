import { z } from 'zod'
import { canonicalJson, decodeJsonFile, encodeJsonFile, type Json } from './canonical-json.ts'
import { ReleaseError } from './errors.ts'
import { checkKey, keyIdOf, type TufKey, tufKey } from './keys.ts'
import { isImageName, versionOfPath } from './names.ts'

/**
 * TUF metadata as Trustcast writes it (TUF 1.0, section 4): a strict part of what TUF allows, so that what people sign
 * has no corner in which something else could hide.
 *
 *     root       who signs root and targets, and the site's keys for snapshot and timestamp
 *     targets    no targets of its own; delegates `NAME/*` to one role for each image, NAME
 *     family     the role of one image: its releases (in TUF's words targets metadata, too)
 *     snapshot   the version, length and digest of targets and of every family
 *     timestamp  the same of the snapshot
 */
export type MetadataKind = 'root' | 'targets' | 'family' | 'snapshot' | 'timestamp'

/** Bytes that metadata may have at most; tuf-js and python-tuf allow no less. */
export const maximumMetadataBytes: Readonly<Record<MetadataKind, number>> = {
  root: 256 * 1024,
  targets: 1024 * 1024,
  family: 1024 * 1024,
  snapshot: 1024 * 1024,
  timestamp: 16 * 1024,
}

/** Releases that one image lists at most: readers take time that grows with the square. */
export const maximumReleases = 499

const maximumFamilies = 499
const maximumKeys = 64
const hex256 = z.string().regex(/^[0-9a-f]{64}$/)
const counter = z.int().min(1)
const common = {
  spec_version: z.string().regex(/^1\.0\.\d{1,3}$/),
  version: z.int().min(1),
  /** UTC, to the second (TUF 1.0, section 4.2.1). */
  expires: z.iso.datetime({ precision: 0 }),
}
const role = { keyids: z.array(hex256).min(1).max(maximumKeys), threshold: z.int().min(1).max(maximumKeys) }
const metaFile = z.strictObject({
  version: z.int().min(1),
  length: z.int().min(1),
  hashes: z.strictObject({ sha256: hex256 }),
})
const keys = z.record(hex256, tufKey)

const rootSigned = z.strictObject({
  _type: z.literal('root'),
  ...common,
  consistent_snapshot: z.literal(true),
  keys,
  roles: z.strictObject({
    root: z.strictObject(role),
    targets: z.strictObject(role),
    snapshot: z.strictObject(role),
    timestamp: z.strictObject(role),
  }),
})
const delegation = z.strictObject({
  ...role,
  name: z.string().refine(isImageName, 'expected the name of an image'),
  paths: z.array(z.string()).length(1),
  terminating: z.literal(true),
})
const targetsSigned = z.strictObject({
  _type: z.literal('targets'),
  ...common,
  targets: z.strictObject({}),
  delegations: z.strictObject({ keys, roles: z.array(delegation).max(maximumFamilies) }),
})
const target = z.strictObject({
  length: z.int().min(1).max(65_536),
  hashes: z.strictObject({ sha256: hex256 }),
  custom: z.strictObject({
    /** Grows by one with each release of the image: what endpoints remember, so that they never go back. */
    counter,
    /** Path of the release whose manifest these bytes are, when that is not this one: a rollback. */
    content: z.string().max(300).optional(),
  }),
})
const familySigned = z.strictObject({
  _type: z.literal('targets'),
  ...common,
  targets: z.record(z.string().max(300), target),
})
const snapshotSigned = z.strictObject({
  _type: z.literal('snapshot'),
  ...common,
  meta: z.record(z.string().max(200), metaFile),
})
const timestampSigned = z.strictObject({
  _type: z.literal('timestamp'),
  ...common,
  meta: z.strictObject({ 'snapshot.json': metaFile }),
})

export type RootSigned = z.infer<typeof rootSigned>
export type TargetsSigned = z.infer<typeof targetsSigned>
export type FamilySigned = z.infer<typeof familySigned>
export type SnapshotSigned = z.infer<typeof snapshotSigned>
export type TimestampSigned = z.infer<typeof timestampSigned>
export type ReleaseTarget = z.infer<typeof target>
export type MetaFile = z.infer<typeof metaFile>

/** What each kind of metadata says. */
export interface SignedOf {
  readonly root: RootSigned
  readonly targets: TargetsSigned
  readonly family: FamilySigned
  readonly snapshot: SnapshotSigned
  readonly timestamp: TimestampSigned
}

export interface Signature {
  readonly keyid: string
  /** Hexadecimal. */
  readonly sig: string
}

/** Metadata of which nobody has checked the signatures: see `verifyMetadata`. */
export type Metadata<Kind extends MetadataKind = MetadataKind> = {
  readonly [K in Kind]: {
    readonly kind: K
    readonly signed: SignedOf[K]
    readonly signatures: readonly Signature[]
  }
}[Kind]

/**
 * Reads metadata of one kind. Its signatures are not checked: `verifyMetadata` does both.
 *
 * @param bytes untrusted; only the canonical form is taken
 * @throws {ReleaseError} RELEASE_MALFORMED, RELEASE_BAD_KEY, RELEASE_BAD_THRESHOLD
 */
export function decodeMetadata<Kind extends MetadataKind>(kind: Kind, bytes: Uint8Array): Metadata<Kind> {
  const parsed = envelopes[kind].safeParse(decodeJsonFile(bytes, maximumMetadataBytes[kind]))
  if (!parsed.success) throw malformed(`no ${kind} metadata: ${z.prettifyError(parsed.error)}`, parsed.error)
  const metadata = { kind, ...parsed.data } as Metadata
  checkSignatureOrder(metadata.signatures)
  checkContent(metadata)
  return metadata as Metadata<Kind>
}

/**
 * Reads metadata of whichever kind it is.
 *
 * @param bytes untrusted
 * @throws {ReleaseError} RELEASE_MALFORMED, RELEASE_BAD_KEY, RELEASE_BAD_THRESHOLD
 */
export function decodeAnyMetadata(bytes: Uint8Array): Metadata {
  const value = z.looseObject({ signed: z.looseObject({ _type: z.string() }) })
  const parsed = value.safeParse(decodeJsonFile(bytes, maximumMetadataBytes.targets))
  if (!parsed.success) throw malformed('expected `signed` with a `_type`', parsed.error)
  const { _type, delegations } = parsed.data.signed
  switch (_type) {
    case 'root':
    case 'snapshot':
    case 'timestamp':
      return decodeMetadata(_type, bytes)
    case 'targets':
      return decodeMetadata(delegations === undefined ? 'family' : 'targets', bytes)
    default:
      throw malformed(`expected metadata of a kind that is known, got ${JSON.stringify(_type)}`)
  }
}

/** The file of metadata. Signatures are put in the order of their keys. */
export function encodeMetadata({ signed, signatures }: Metadata): Uint8Array {
  const sorted = signatures.toSorted((a, b) => (a.keyid < b.keyid ? -1 : 1))
  return encodeJsonFile({
    signatures: sorted.map(({ keyid, sig }) => ({ keyid, sig })),
    signed: signed as Json,
  })
}

/** What signatures are over. */
export function signedBytes({ signed }: Pick<Metadata, 'signed'>): Uint8Array {
  return canonicalJson(signed as Json)
}

/** Metadata that nobody has signed yet. */
export function encodeUnsigned<Kind extends MetadataKind>(kind: Kind, signed: SignedOf[Kind]): Uint8Array {
  const bytes = encodeMetadata({ kind, signed, signatures: [] } as unknown as Metadata)
  decodeMetadata(kind, bytes)
  return bytes
}

/** A time as TUF writes it: UTC, to the second. */
export function tufTime(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d{3}Z$/, 'Z')
}

/** What every kind says first. The version of the specification is the one that was read. */
export function commonFields(
  version: number,
  expiresAtMs: number,
): {
  spec_version: string
  version: number
  expires: string
} {
  return { spec_version: '1.0.31', version, expires: tufTime(expiresAtMs) }
}

/** Keys by their ids. */
export function keyTable(list: readonly TufKey[]): Record<string, TufKey> {
  return Object.fromEntries(list.map((key) => [keyIdOf(key), key]))
}

function envelope(signed: z.ZodType) {
  const signature = z.strictObject({ keyid: hex256, sig: z.string().regex(/^(?:[0-9a-f]{2}){1,100}$/) })
  return z.strictObject({ signatures: z.array(signature).max(2 * maximumKeys), signed })
}

const envelopes = {
  root: envelope(rootSigned),
  targets: envelope(targetsSigned),
  family: envelope(familySigned),
  snapshot: envelope(snapshotSigned),
  timestamp: envelope(timestampSigned),
}

/** One key signs once; in one order, so that there is one form. */
function checkSignatureOrder(signatures: readonly Signature[]): void {
  signatures.forEach(({ keyid }, index) => {
    const before = signatures[index - 1]
    if (before !== undefined && before.keyid >= keyid) {
      throw malformed('expected at most one signature of each key, in the order of their ids')
    }
  })
}

function checkContent(metadata: Metadata): void {
  switch (metadata.kind) {
    case 'root':
      return checkRoles(metadata.signed.keys, Object.entries(metadata.signed.roles))
    case 'targets':
      return checkDelegations(metadata.signed.delegations.keys, metadata.signed.delegations.roles)
    case 'family':
      return checkTargets(metadata.signed.targets)
    case 'snapshot':
      if (Object.keys(metadata.signed.meta).every(isRoleFile)) return
      throw malformed('expected a snapshot of targets and images')
    case 'timestamp':
      return
  }
}

function isRoleFile(file: string): boolean {
  const [, role = ''] = /^(.+)\.json$/.exec(file) ?? []
  return role === 'targets' || isImageName(role)
}

type Delegation = TargetsSigned['delegations']['roles'][number]

function checkDelegations(keys: Readonly<Record<string, TufKey>>, roles: readonly Delegation[]): void {
  const names = roles.map(({ name }) => name)
  if (new Set(names).size < names.length) throw malformed('expected one delegation for each image')
  // INVARIANT: no role can sign for the image of another.
  const own = roles.every(({ name, paths }) => paths[0] === `${name}/*`)
  if (!own) throw malformed('expected each delegation to be of the paths NAME/*')
  checkRoles(
    keys,
    roles.map((role) => [role.name, role]),
  )
}

interface Role {
  readonly keyids: readonly string[]
  readonly threshold: number
}

function checkRoles(
  keys: Readonly<Record<string, TufKey>>,
  roles: readonly (readonly [string, Role])[],
): void {
  for (const [id, key] of Object.entries(keys)) {
    if (keyIdOf(checkKey(key)) !== id) {
      throw new ReleaseError('RELEASE_BAD_KEY', `the key under ${id} has the id ${keyIdOf(key)}`)
    }
  }
  for (const [name, { keyids, threshold }] of roles) {
    if (new Set(keyids).size < keyids.length || !keyids.every((id) => Object.hasOwn(keys, id))) {
      throw malformed(`the role ${name} names a key twice, or one that is not there`)
    }
    if (threshold > keyids.length) {
      throw new ReleaseError(
        'RELEASE_BAD_THRESHOLD',
        `the role ${name} asks for ${threshold} signatures of ${keyids.length} keys`,
        { remedy: 'Name as many keys as must sign, better one more.' },
      )
    }
  }
}

function checkTargets(targets: Readonly<Record<string, ReleaseTarget>>): void {
  const entries = Object.entries(targets)
  if (entries.length > maximumReleases) {
    throw new ReleaseError(
      'RELEASE_TOO_MANY',
      `expected at most ${maximumReleases} releases of one image, got ${entries.length}`,
      { remedy: 'Retire old releases first.' },
    )
  }
  const name = entries[0]?.[0].split('/')[0] ?? ''
  const counters = new Set(entries.map(([, { custom }]) => custom.counter))
  const isOwn = (path: string): boolean => versionOfPath(name, path) !== undefined
  const paths = entries.flatMap(([path, { custom }]) => (custom.content ? [path, custom.content] : [path]))
  if (!paths.every(isOwn)) throw malformed('expected releases NAME/VERSION of one image')
  if (counters.size < entries.length) throw malformed('expected a counter of its own for each release')
}

function malformed(problem: string, cause?: unknown): ReleaseError {
  return new ReleaseError('RELEASE_MALFORMED', `release metadata: ${problem}`, { cause })
}
