import { hash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  deleteProposal,
  insertMetadata,
  isAway,
  readRepository,
  writeReleases,
} from '#adapters/store-postgres/index.ts'
import type { AuditActor } from '#core/audit/leaf.ts'
import {
  changedReleases,
  decodeAnyMetadata,
  decodeMetadata,
  defaultLifetimes,
  familyRole,
  isImageName,
  listReleases,
  publish,
  type Repository,
  verifyMetadata,
} from '#core/release/index.ts'
import type { Site } from '../site.ts'
import { requireUnused } from './release-channels.ts'
import { warnOfEnds } from './release-ends.ts'
import { entryOf } from './release-entries.ts'
import { noProposal, readState } from './release-proposing.ts'
import { changeReleases } from './release-turns.ts'

/** What endpoints can read: signed proposals take effect together, with a snapshot and timestamp of the site's own. */

/** A role's metadata, as it was just published. */
export interface PublishedRole {
  readonly role: string
  readonly version: number
}

/**
 * Publishes proposals that are signed. INVARIANT I1: the threshold is checked here, and again by every endpoint.
 *
 * @throws {SiteError} NOT_FOUND, CONFLICT; {ReleaseError} as `publish` of `core/release`: then nothing was published
 */
export async function publishRoles(
  site: Site,
  roles: readonly string[],
  actor: AuditActor,
): Promise<readonly PublishedRole[]> {
  return changeReleases(site, async (tx) => {
    const { repository, pending } = await readState(tx)
    const chosen = new Map(
      roles.map((role) => {
        const bytes = pending.get(role)
        if (bytes === undefined) throw noProposal(role)
        return [role, bytes]
      }),
    )
    const families = new Map([...chosen].filter(([role]) => isImageName(role)))
    const next = await publish({
      current: repository,
      proposals: {
        root: chosen.get('root'),
        targets: chosen.get('targets'),
        families,
      },
      onlineKeys: site.releaseKeys,
      nowMs: site.now(),
    })
    for (const [name, bytes] of families) {
      const { retired } = changedReleases(name, repository?.families.get(name), bytes)
      await requireUnused(
        tx,
        name,
        retired.map(({ version }) => version),
      )
    }
    const changed = await write(site, tx, repository, next, actor)
    for (const role of chosen.keys()) await deleteProposal(tx, role)
    return changed
  })
}

/** Often enough that a failure is mended long before endpoints see one. */
const renewalCheckMs = 60_000

/** Keeps what says that all is current from expiring, until `signal`. Every node runs this; one does it. */
export async function renewReleases(site: Site, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    try {
      try {
        await renewWhenDue(site)
      } finally {
        // The end of what people signed is told also when nothing can be renewed for it.
        await warnOfEnds(site)
      }
      await sleep(renewalCheckMs, undefined, { signal })
    } catch (error) {
      if (signal.aborted) return
      if (!isAway(error)) site.log.error({ err: error }, 'the releases could not be renewed')
      await sleep(renewalCheckMs, undefined, { signal }).catch(() => undefined)
    }
  }
}

/** @returns whether it was time */
export async function renewWhenDue(site: Site): Promise<boolean> {
  if (!isDue(site, await readRepository(site.store.db))) return false
  return changeReleases(site, async (tx) => {
    // Another node may have done it while this one waited.
    const repository = await readRepository(tx)
    if (repository === undefined || !isDue(site, repository)) return false
    const options = { current: repository, proposals: {}, onlineKeys: site.releaseKeys, nowMs: site.now() }
    await write(site, tx, repository, await publish(options), { type: 'site', id: site.siteId })
    return true
  })
}

function isDue(site: Site, repository: Repository | undefined): boolean {
  if (repository?.timestamp === undefined) return false
  const { expires } = decodeMetadata('timestamp', repository.timestamp).signed
  return Date.parse(expires) - site.now() < defaultLifetimes.timestamp / 2
}

type Transaction = Parameters<typeof insertMetadata>[0]

async function write(
  site: Site,
  tx: Transaction,
  before: Repository | undefined,
  next: Repository,
  actor: AuditActor,
): Promise<readonly PublishedRole[]> {
  const at = new Date(site.now())
  const old = filesOf(before)
  const changed = [...filesOf(next)].filter(([role, bytes]) => old.get(role) !== bytes)
  const published = changed.map(([role, bytes]) => ({
    role,
    version: decodeAnyMetadata(bytes).signed.version,
  }))
  await site.audit.record('release-published', actor, undefined, {
    // `file` is the digest of what endpoints read.
    published: changed.map(([role, bytes]) => ({
      ...entryOf(role, bytes, old.get(role)),
      file: hash('sha256', bytes),
    })),
  })
  for (const [index, [role, bytes]] of changed.entries()) {
    await insertMetadata(tx, { role, bytes, at, version: published[index]?.version ?? 0 })
    if (isImageName(role) && next.targets !== undefined) {
      await writeReleases(tx, role, rowsOf(role, bytes, next.targets), at)
    }
  }
  return published
}

function rowsOf(name: string, bytes: Uint8Array, targets: Uint8Array) {
  const role = familyRole(decodeMetadata('targets', targets).signed, name)
  if (role === undefined) return []
  return listReleases(verifyMetadata('family', bytes, role), name).map(
    ({ version, contentVersion, counter, manifestDigest }) => ({
      version,
      counter,
      content_version: contentVersion,
      manifest_digest: manifestDigest,
    }),
  )
}

function filesOf(repository: Repository | undefined): ReadonlyMap<string, Uint8Array> {
  if (repository === undefined) return new Map()
  const { families, ...others } = repository
  const all: [string, Uint8Array | undefined][] = [...Object.entries(others), ...families]
  return new Map(all.flatMap(([role, bytes]) => (bytes === undefined ? [] : [[role, bytes]])))
}
