import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { EqualVersionError } from 'tuf-js/dist/error.js'
import { TrustedMetadataStore } from 'tuf-js/dist/store.js'
import {
  decodeMetadata,
  type MetadataKind,
  maximumMetadataBytes,
  metadataFileName,
  ReleaseError,
} from '#core/release/index.ts'
import { writeDurably } from './durable-file.ts'
import { releaseErrorOf } from './tuf-errors.ts'

/**
 * Gets one file of metadata, such as `timestamp.json` or `3.root.json`.
 *
 * @param maxBytes more than this must not be read
 * @returns undefined when there is none
 */
export type ReleaseFetch = (
  file: string,
  maxBytes: number,
  signal: AbortSignal | undefined,
) => Promise<Uint8Array | undefined>

export interface UpdateOptions {
  readonly dir: string
  readonly rootBytes: Uint8Array
  /** Without it only what was kept is read. */
  readonly fetch?: ReleaseFetch | undefined
  /** Metadata whose time is up counts, too. Everything else is checked as ever. */
  readonly acceptExpired?: boolean
}

/** Metadata that was verified together. */
export interface TrustedRoles {
  readonly root: Uint8Array
  readonly timestamp: Uint8Array
  readonly snapshot: Uint8Array
  readonly targets: Uint8Array
  /** True when releases of this image are published. */
  has(name: string): boolean
  /** An image's releases, fetched when they are not there yet. Throws as `updateRoles`. */
  family(name: string, fetch: ReleaseFetch | undefined, signal: AbortSignal | undefined): Promise<Uint8Array>
}

/**
 * Learns what is current, and keeps each step on disk once it is verified. The checks are those of tuf-js; files are
 * read and written here, because its own client replaces them in place, and a crash would lose what was seen.
 *
 * Spec: TUF 1.0, section 5.3 to 5.6
 *
 * @throws {ReleaseError} see `Releases.refresh`
 */
export async function updateRoles(
  options: UpdateOptions,
  signal: AbortSignal | undefined,
): Promise<TrustedRoles> {
  const { dir, fetch } = options
  const store = openStore(options)
  const root = await updateRoot(store, options, signal)
  const timestamp = await updateTimestamp(store, dir, fetch, signal)
  const { snapshotMeta } = decodedTimestamp(timestamp)
  const snapshot = await updateRole(
    {
      role: 'snapshot',
      kind: 'snapshot',
      path: join(dir, 'snapshot.json'),
      file: metadataFileName('snapshot', snapshotMeta.version),
      update: (bytes, isKept) => store.updateSnapshot(bytes, isKept),
    },
    fetch,
    signal,
  )
  const { meta } = decodeMetadata('snapshot', snapshot).signed
  const targetsOf = (role: string, delegator: string): RoleFile => ({
    role,
    kind: role === 'targets' ? 'targets' : 'family',
    path: role === 'targets' ? join(dir, 'targets.json') : join(dir, 'images', `${role}.json`),
    file: metadataFileName(role, meta[`${role}.json`]?.version ?? 0),
    update: (bytes) => store.updateDelegatedTargets(bytes, role, delegator),
  })
  const targets = await updateRole(targetsOf('targets', 'root'), fetch, signal)
  const families = new Map<string, Uint8Array>()
  return {
    root,
    timestamp,
    snapshot,
    targets,
    has: (name) => Object.hasOwn(meta, `${name}.json`),
    async family(name, fetch, signal) {
      const known = families.get(name) ?? (await updateRole(targetsOf(name, 'targets'), fetch, signal))
      families.set(name, known)
      return known
    },
  }
}

/** As `updateRoles`, of the root alone: before the first targets there is nothing else. */
export async function newestRoot(
  options: UpdateOptions,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  return updateRoot(openStore(options), options, signal)
}

function openStore({ rootBytes, acceptExpired = false }: UpdateOptions): TrustedMetadataStore {
  const store = new TrustedMetadataStore(Buffer.from(rootBytes))
  // tuf-js takes no clock; what it compares with is fixed here before its first comparison (TUF 1.0, section 5.1).
  if (acceptExpired) Object.assign(store, { referenceTime: new Date(0) })
  return store
}

/** TUF 1.0, section 5.3.3: so many roots at most in one go. */
const maximumRotations = 256

/** Walks from the first root to the newest, each signed by the one before it and by itself (section 5.3). */
async function updateRoot(
  store: TrustedMetadataStore,
  { dir, rootBytes, fetch }: UpdateOptions,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  let newest = rootBytes
  const first = store.root.signed.version
  for (let version = first + 1; version <= first + maximumRotations; version++) {
    const file = metadataFileName('root', version)
    const path = join(dir, file)
    const role: RoleFile = {
      role: 'root',
      kind: 'root',
      path,
      file,
      update: (bytes) => store.updateRoot(bytes),
    }
    const next = (await fromDisk(role)) ?? (await fromSource(role, fetch, signal))
    if (next === undefined) break
    newest = next
  }
  return newest
}

/** The kept timestamp, expired or not, is the floor below which no other is taken (section 5.4.3). */
async function updateTimestamp(
  store: TrustedMetadataStore,
  dir: string,
  fetch: ReleaseFetch | undefined,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  let refusal: unknown
  const role: RoleFile = {
    role: 'timestamp',
    kind: 'timestamp',
    path: join(dir, 'timestamp.json'),
    file: 'timestamp.json',
    update: (bytes) => store.updateTimestamp(bytes),
  }
  const kept = await fromDisk(role, (error) => {
    refusal = error
  })
  if (fetch === undefined && kept !== undefined) return kept
  try {
    const fetched = await fromSource(role, fetch, signal)
    if (fetched !== undefined) return fetched
  } catch (error) {
    // The same version again says nothing new: what was kept stays, or stays too old.
    if (!(error instanceof EqualVersionError)) throw error
    if (kept !== undefined) return kept
  }
  throw refusal ?? missing(role)
}

/** One file of metadata: where it is kept, what it is called at the source, and who checks it. */
interface RoleFile {
  readonly role: string
  readonly kind: MetadataKind
  readonly path: string
  readonly file: string
  /** Throws when the bytes are not to be trusted. `isKept`: they were checked against the role above once. */
  readonly update: (bytes: Buffer, isKept: boolean) => unknown
}

async function updateRole(
  role: RoleFile,
  fetch: ReleaseFetch | undefined,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  let refusal: unknown
  const kept = await fromDisk(role, (error) => {
    refusal = error
  })
  const bytes = kept ?? (await fromSource(role, fetch, signal))
  if (bytes === undefined) throw refusal ?? missing(role)
  return bytes
}

/** What was kept, if it is still good. A damaged, outdated or expired file is fetched again. */
async function fromDisk(
  role: RoleFile,
  onRefusal: (error: unknown) => void = () => undefined,
): Promise<Uint8Array | undefined> {
  const bytes = await readFile(role.path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (bytes === undefined) return undefined
  try {
    check(role, bytes, true)
    return bytes
  } catch (error) {
    if (!(error instanceof ReleaseError)) throw error
    onRefusal(error)
    return undefined
  }
}

async function fromSource(
  role: RoleFile,
  fetch: ReleaseFetch | undefined,
  signal: AbortSignal | undefined,
): Promise<Uint8Array | undefined> {
  const bytes = await fetch?.(role.file, maximumMetadataBytes[role.kind], signal)
  if (bytes === undefined) return undefined
  check(role, bytes, false)
  await writeDurably(role.path, bytes)
  return bytes
}

/** Our own strict reading first: tuf-js never sees what is not in our form. */
function check({ role, kind, update }: RoleFile, bytes: Uint8Array, isKept: boolean): void {
  decodeMetadata(kind, bytes)
  try {
    update(Buffer.from(bytes), isKept)
  } catch (error) {
    if (error instanceof EqualVersionError) throw error
    throw releaseErrorOf(error, role)
  }
}

function decodedTimestamp(bytes: Uint8Array): { snapshotMeta: { version: number } } {
  return { snapshotMeta: decodeMetadata('timestamp', bytes).signed.meta['snapshot.json'] }
}

function missing({ file }: RoleFile): ReleaseError {
  return new ReleaseError('RELEASE_MISMATCH', `there is no ${file}`, {
    remedy: 'Nothing may be published yet; otherwise try again in a minute.',
  })
}
