import { hash } from 'node:crypto'
import type { Transaction } from 'kysely'
import type { z } from 'zod'
import {
  counterOf,
  type Database,
  deleteProposal,
  imageOf,
  insertImage,
  insertProposal,
  listProposals,
  listReleaseRows,
  proposalOf,
  readRepository,
  updateProposal,
} from '#adapters/store-postgres/index.ts'
import type { imageRequest, keySet, rootRequest } from '#core/api/releases.ts'
import { decodeManifest } from '#core/artifact/index.ts'
import type { AuditActor } from '#core/audit/leaf.ts'
import {
  attachSignature,
  checkKey,
  decodeAnyMetadata,
  decodeMetadata,
  defaultLifetimes,
  familyRole,
  type KeySet,
  proposeFamily,
  proposeRelease,
  proposeRenewal,
  proposeRollback,
  proposeRoot,
  ReleaseError,
  type Repository,
  type RoleKeys,
  retireRelease,
  rootRole,
  type Signature,
  signatureState,
} from '#core/release/index.ts'
import type { Site } from '../site.ts'
import { notFound, SiteError } from '../site-error.ts'
import { requireUnused } from './release-channels.ts'
import { entryOf } from './release-entries.ts'
import { changeReleases } from './release-turns.ts'

/**
 * What is to be signed: the site makes the next version of a role's metadata, and collects signatures of people on it.
 * INVARIANT I7: all of it is in the audit log first. Nothing here takes effect for endpoints: see `release-publishing.ts`.
 */

/** Who asks for something. */
export interface Proposer {
  /** As people know them. */
  readonly login: string
  readonly actor: AuditActor
}

/** What is published, and what is to be signed, by role. */
export interface ReleaseState {
  readonly repository: Repository | undefined
  readonly pending: ReadonlyMap<string, Uint8Array>
}

/** Makes an image known, so that it can be released. The site takes its manifest; its bytes lie in a store. */
export async function registerImage(
  site: Site,
  { name, version, manifest, store, comparison }: z.infer<typeof imageRequest>,
  { login, actor }: Proposer,
): Promise<string> {
  const bytes = Buffer.from(manifest, 'base64url')
  const said = decodeManifest(bytes)
  if (said.name !== name || said.version !== version) {
    throw new SiteError('BAD_REQUEST', `this is the manifest of ${said.name}:${said.version}`)
  }
  const digest = hash('sha256', bytes)
  await changeReleases(site, async (tx) => {
    const known = await imageOf(tx, name, version)
    if (known?.manifest_digest === digest) return
    if (known !== undefined) {
      throw new SiteError('CONFLICT', `${name}:${version} is known with another manifest`, {
        remedy: 'An image never changes: import it under another version.',
      })
    }
    await site.audit.record('image-registered', actor, `${name}:${version}`, {
      manifestDigest: digest,
      store,
    })
    await insertImage(tx, {
      name,
      version,
      manifest: bytes,
      manifest_digest: digest,
      store,
      imported_by: login,
      imported_at: new Date(site.now()),
      comparison: comparison ?? null,
    })
  })
  return digest
}

/** Says who signs. What the new keys must sign anew comes along. @returns the roles with something to sign */
export async function proposeRootChange(
  site: Site,
  { root, targets = root }: z.infer<typeof rootRequest>,
  by: Proposer,
): Promise<readonly string[]> {
  const { snapshot, timestamp } = site.releaseKeys
  return propose(site, by, ({ repository }) => {
    const next = proposeRoot({
      current: repository?.root,
      root: checkKeys(root),
      targets: checkKeys(targets),
      snapshot: snapshot.publicKey,
      timestamp: timestamp.publicKey,
      expiresAtMs: site.now() + defaultLifetimes.root,
    })
    const role = rootRole(decodeMetadata('root', next).signed, 'targets')
    const renewed = renewedUnder(site, 'targets', repository?.targets, role)
    return new Map([['root', next], ...(renewed === undefined ? [] : [['targets', renewed] as const])])
  })
}

/** Says who signs the releases of an image. @returns the roles with something to sign */
export async function proposeKeysOf(
  site: Site,
  name: string,
  keys: z.infer<typeof keySet>,
  by: Proposer,
): Promise<readonly string[]> {
  return propose(site, by, (state) => {
    requireRoot(state)
    const expiresAtMs = site.now() + defaultLifetimes.targets
    const current = state.repository?.targets
    const next = proposeFamily({ current, name, ...checkKeys(keys), expiresAtMs })
    const role = familyRole(decodeMetadata('targets', next).signed, name)
    const family = state.repository?.families.get(name)
    const renewed = role && renewedUnder(site, 'family', family, role)
    return new Map([['targets', next], ...(renewed === undefined ? [] : [[name, renewed] as const])])
  })
}

export async function proposeReleaseOf(
  site: Site,
  name: string,
  version: string,
  by: Proposer,
): Promise<void> {
  const image = await imageOf(site.store.db, name, version)
  if (image === undefined) {
    throw new SiteError('NOT_FOUND', `this site does not know an image ${name}:${version}`, {
      remedy: `Tell it of the image: trustcast image register ${name}:${version}`,
    })
  }
  await proposeNext(site, name, by, async (current, expiresAtMs, tx) => {
    await requireNew(tx, name, version)
    return proposeRelease({ current, name, version, manifestBytes: image.manifest, expiresAtMs })
  })
}

/** Going back is a release of its own: signed, and with the next counter. @returns its version */
export async function proposeRollbackOf(
  site: Site,
  name: string,
  { to, as }: { readonly to: string; readonly as?: string | undefined },
  by: Proposer,
): Promise<string> {
  const [newest] = await listReleaseRows(site.store.db, name)
  const version = as ?? `${to.slice(0, 100)}-again-${(newest?.counter ?? 0) + 1}`
  await proposeNext(site, name, by, async (current, expiresAtMs, tx) => {
    if (current === undefined) throw notFound('release')
    await requireNew(tx, name, version)
    return proposeRollback({ current, name, to, as: version, expiresAtMs })
  })
  return version
}

export async function proposeRetirement(
  site: Site,
  name: string,
  version: string,
  by: Proposer,
): Promise<void> {
  await proposeNext(site, name, by, async (current, expiresAtMs, tx) => {
    if (current === undefined) throw notFound('release')
    const next = retireRelease({ current, name, version, expiresAtMs })
    await requireUnused(tx, name, [version])
    return next
  })
}

/** The same again for longer. */
export async function proposeRenewalOf(site: Site, role: string, by: Proposer): Promise<void> {
  if (role === 'root') {
    throw new SiteError('BAD_REQUEST', 'a root is not renewed: another one follows it', {
      remedy: 'Propose it with the keys that shall be: trustcast image root PUBLICFILE… --threshold N',
    })
  }
  await propose(site, by, ({ repository }) => {
    const kind = role === 'targets' ? 'targets' : 'family'
    const current = role === 'targets' ? repository?.targets : repository?.families.get(role)
    if (current === undefined) throw notFound('published role')
    return new Map([[role, proposeRenewal(kind, current, site.now() + defaultLifetimes[kind])]])
  })
}

/** @throws {SiteError} NOT_FOUND */
export async function withdrawProposal(site: Site, role: string, { actor }: Proposer): Promise<void> {
  await changeReleases(site, async (tx) => {
    const proposed = await proposalOf(tx, role)
    if (proposed === undefined) throw noProposal(role)
    const published = publishedBytes(role, await readState(tx))
    await site.audit.record('release-proposed', actor, role, {
      ...entryOf(role, proposed.bytes, published),
      withdrawn: true,
    })
    await deleteProposal(tx, role)
  })
}

/**
 * Takes one signature. Who sends it does not matter, only whose key made it.
 *
 * @param signature untrusted
 * @throws {SiteError} NOT_FOUND; {ReleaseError} RELEASE_UNKNOWN_KEY, RELEASE_BAD_SIGNATURE
 */
export async function takeSignature(
  site: Site,
  role: string,
  signature: Signature,
  { actor }: Proposer,
): Promise<void> {
  await changeReleases(site, async (tx) => {
    const state = await readState(tx)
    const bytes = state.pending.get(role)
    if (bytes === undefined) throw noProposal(role)
    const signed = attachSignature(bytes, signature, rolesThatSign(role, state))
    await site.audit.record('release-signed', actor, role, {
      ...entryOf(role, bytes, publishedBytes(role, state)),
      keyId: signature.keyid,
    })
    await updateProposal(tx, role, signed)
  })
}

export async function readState(db: Parameters<typeof readRepository>[0]): Promise<ReleaseState> {
  const [repository, rows] = [await readRepository(db), await listProposals(db)]
  return { repository, pending: new Map(rows.map(({ role, bytes }) => [role, bytes])) }
}

export function publishedBytes(
  role: string,
  { repository }: Pick<ReleaseState, 'repository'>,
): Uint8Array | undefined {
  if (role === 'root') return repository?.root
  return role === 'targets' ? repository?.targets : repository?.families.get(role)
}

/** Whose signatures a role's proposal needs; where the role above has a proposal, too, of those whom that names. */
export function rolesThatSign(role: string, { repository, pending }: ReleaseState): readonly RoleKeys[] {
  const root = pending.get('root') ?? repository?.root
  if (role === 'root') {
    const roots = [
      ...(repository === undefined ? [] : [{ bytes: repository.root, role: 'root as published' }]),
      ...(root === undefined || root === repository?.root ? [] : [{ bytes: root, role: 'root as proposed' }]),
    ]
    return roots.map(({ bytes, role }) => ({
      ...rootRole(decodeMetadata('root', bytes).signed, 'root'),
      role,
    }))
  }
  if (role === 'targets') {
    return root === undefined ? [] : [rootRole(decodeMetadata('root', root).signed, 'targets')]
  }
  const targets = pending.get('targets') ?? repository?.targets
  const keys = targets && familyRole(decodeMetadata('targets', targets).signed, role)
  return keys === undefined ? [] : [keys]
}

export function noProposal(role: string): SiteError {
  return new SiteError('NOT_FOUND', `nothing of ${role} awaits signatures`, {
    remedy: 'See what does, or ask an admin for it: trustcast image releases',
  })
}

async function proposeNext(
  site: Site,
  name: string,
  by: Proposer,
  make: (
    current: Uint8Array | undefined,
    expiresAtMs: number,
    tx: Transaction<Database>,
  ) => Promise<Uint8Array>,
): Promise<void> {
  await propose(site, by, async (state, tx) => {
    if (rolesThatSign(name, state).length === 0) {
      throw new ReleaseError('RELEASE_UNKNOWN', `nobody is named to sign releases of ${name}`, {
        remedy: `Name the keys first: trustcast image delegate ${name}`,
      })
    }
    const current = state.repository?.families.get(name)
    return new Map([[name, await make(current, site.now() + defaultLifetimes.family, tx)]])
  })
}

async function propose(
  site: Site,
  { login, actor }: Proposer,
  make: (
    state: ReleaseState,
    tx: Transaction<Database>,
  ) => ReadonlyMap<string, Uint8Array> | Promise<ReadonlyMap<string, Uint8Array>>,
): Promise<readonly string[]> {
  return changeReleases(site, async (tx) => {
    const state = await readState(tx)
    const made = await make(state, tx)
    // The log tells of nothing that is refused in the end.
    for (const role of made.keys()) if (state.pending.has(role)) throw stillProposed(role)
    for (const [role, bytes] of made) {
      const { version } = decodeAnyMetadata(bytes).signed
      await site.audit.record(
        'release-proposed',
        actor,
        role,
        entryOf(role, bytes, publishedBytes(role, state)),
      )
      const proposed = { proposed_by: login, proposed_at: new Date(site.now()) }
      await insertProposal(tx, { role, version, bytes: Buffer.from(bytes), ...proposed })
    }
    return [...made.keys()]
  })
}

/** What must be signed anew when other keys sign a role; undefined when enough of them have signed it already. */
function renewedUnder(
  site: Site,
  kind: 'targets' | 'family',
  current: Uint8Array | undefined,
  role: RoleKeys,
): Uint8Array | undefined {
  if (current === undefined || signatureState(current, role).missing === 0) return undefined
  return proposeRenewal(kind, current, site.now() + defaultLifetimes[kind])
}

function checkKeys({ keys, threshold }: z.infer<typeof keySet>): KeySet {
  return { keys: keys.map(checkKey), threshold }
}

function requireRoot({ repository, pending }: ReleaseState): void {
  if (repository !== undefined || pending.has('root')) return
  throw new ReleaseError('RELEASE_NO_ROOT', 'nobody has said yet who signs', {
    remedy: 'Propose a root first: trustcast image root',
  })
}

/** A name never means another release than it did once: endpoints, leases and copies remember it, also when it is retired. */
async function requireNew(tx: Transaction<Database>, name: string, version: string): Promise<void> {
  const counter = await counterOf(tx, name, version)
  if (counter === undefined) return
  throw new ReleaseError('RELEASE_EXISTS', `${name}:${version} was release ${counter} already`, {
    remedy:
      'A release never changes, and does not come back: import the disk under another version, or roll back to a release that is listed.',
  })
}

function stillProposed(role: string): SiteError {
  return new SiteError('CONFLICT', `something else of ${role} awaits signatures`, {
    remedy: `Have it signed and publish it, or withdraw it: trustcast image withdraw ${role}`,
  })
}
