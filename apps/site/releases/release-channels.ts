import {
  type ChannelRow,
  channelOf,
  counterOf,
  type Db,
  listChannels,
  newestLeased,
  type ReleaseRow,
  releaseRow,
  writeChannel,
} from '#adapters/store-postgres/index.ts'
import type { AuditActor } from '#core/audit/leaf.ts'
import { type ChannelState, directedVersion, ReleaseError, type Wave } from '#core/release/index.ts'
import { decideAgain } from '../launches/decide-again.ts'
import type { Site } from '../site.ts'
import { SiteError } from '../site-error.ts'
import type { FindRelease, PublishedRelease } from './directing.ts'
import { changeReleases } from './release-turns.ts'

/** Channels: which release of an image an endpoint gets. */

export interface Promotion {
  readonly name: string
  readonly channel: 'test' | 'production'
  readonly version: string
  /** Undefined: everybody at once. */
  readonly wave?: Wave | undefined
}

/**
 * Points a channel at a release, for everybody or for a wave. It only goes forward: whoever has accepted a release
 * refuses what came before it.
 *
 * @throws {SiteError} CONFLICT; {ReleaseError} RELEASE_UNKNOWN, RELEASE_ROLLBACK
 */
export async function promote(site: Site, promotion: Promotion, actor: AuditActor): Promise<ChannelState> {
  const { name, channel, version, wave } = promotion
  const next = await changeReleases(site, async (tx) => {
    const before = await channelOf(tx, name, channel)
    const release = await releaseRow(tx, name, version)
    if (release === undefined) throw unknownRelease(name, version)
    await requireForward(tx, before, release)
    const state = advance(before && stateOf(before), version, wave)
    await site.audit.record('channel-changed', actor, `${name}:${channel}`, {
      image: name,
      channel,
      current: state.current,
      ...(state.next === undefined
        ? {}
        : {
            next: state.next.version,
            percent: state.next.wave.percent,
            groups: state.next.wave.groups,
            endpoints: state.next.wave.endpoints,
          }),
    })
    await writeChannel(tx, rowOf(promotion, state, new Date(site.now())))
    return state
  })
  // A workspace that had nothing to stream may have it now.
  await decideAgain(site, 'sweep')
  return next
}

export function stateOf({ current_version, next_version, wave }: ChannelRow): ChannelState {
  return {
    current: current_version,
    ...(next_version === null || wave === null ? {} : { next: { version: next_version, wave } }),
  }
}

/**
 * The release that an endpoint is directed to: its channel's, or else what it was given last, or else the next one of the channel. Never one
 * from before what it was given last, retired or not: it would refuse it (I4), be it that a wave was replaced or that it changed its channel. What
 * it says of its floor leads to the next release of the channel at most: a machine that was enrolled again is in the wave that it was in. Where
 * nothing is as new as it says, it is directed as if it had said nothing, and says itself why it refuses.
 */
export function findDirected(db: Db): FindRelease {
  return async ({ image, channel }, endpoint) => {
    const row = await channelOf(db, image, channel)
    if (row === undefined) return undefined
    const state = stateOf(row)
    const [directed, next, last] = await Promise.all([
      releaseRow(db, image, directedVersion(image, state, endpoint)),
      state.next && releaseRow(db, image, state.next.version),
      newestLeased(db, endpoint.id, image),
    ])
    if (directed === undefined) return undefined
    const given = last?.counter ?? 0
    const good = [directed, last?.retired_at === null ? last : undefined, next].filter(
      (one) => one !== undefined && one.counter >= given,
    )
    const { floor = 0 } = endpoint
    const found = good.find((one) => one !== undefined && one.counter >= floor) ?? good[0]
    return found && publishedOf(found)
  }
}

function publishedOf({ name, version, counter, manifest_digest }: ReleaseRow): PublishedRelease {
  return { name, version, counter, manifestDigest: manifest_digest }
}

type Transaction = Parameters<typeof writeChannel>[0]

/**
 * INVARIANT: what a channel names can be had: endpoints outside a wave are given what it began from.
 *
 * @param versions which an image's releases would no longer list
 * @throws {SiteError} CONFLICT
 */
export async function requireUnused(
  tx: Transaction,
  image: string,
  versions: readonly string[],
): Promise<void> {
  for (const { name, channel, current_version, next_version } of await listChannels(tx)) {
    const used = versions.find((version) => [current_version, next_version].includes(version))
    if (name !== image || used === undefined) continue
    throw new SiteError('CONFLICT', `the channel ${channel} gives endpoints ${name}:${used}`, {
      remedy: `Give everybody of it another release first: trustcast image promote NAME:VERSION --channel ${channel}`,
    })
  }
}

async function requireForward(
  tx: Transaction,
  before: ChannelRow | undefined,
  { name, version, counter }: ReleaseRow,
): Promise<void> {
  const newest = before && (before.next_version ?? before.current_version)
  // Retired or not: endpoints have accepted it.
  const known = newest === undefined ? undefined : await counterOf(tx, name, newest)
  if (known === undefined || known <= counter) return
  throw new ReleaseError(
    'RELEASE_ROLLBACK',
    `${name}:${version} is release ${counter}, the channel has come to release ${known}`,
    { remedy: `To go back, release the older image anew: trustcast image rollback ${name} --to ${version}` },
  )
}

function advance(before: ChannelState | undefined, version: string, wave: Wave | undefined): ChannelState {
  if (wave === undefined || wave.percent === 100) return { current: version }
  if (before === undefined) {
    throw new SiteError('CONFLICT', 'the first release of a channel goes to everybody', {
      remedy: 'Promote it without a percentage and without canaries.',
    })
  }
  if (before.current === version) {
    throw new SiteError('CONFLICT', `everybody has ${version} already`, {
      remedy: 'A wave is for the release after it.',
    })
  }
  const running = before.next?.version === version ? before.next.wave : undefined
  return {
    current: before.current,
    next: { version, wave: running === undefined ? wave : grown(running, wave) },
  }
}

/** A wave only grows: who has the next release keeps it. */
function grown(before: Wave, wave: Wave): Wave {
  if (wave.percent < before.percent) {
    throw new SiteError('CONFLICT', `${before.percent} % have it already`, {
      remedy: 'A wave only grows. To take a release back, roll back: that is a release of its own.',
    })
  }
  return {
    groups: [...new Set([...before.groups, ...wave.groups])],
    endpoints: [...new Set([...before.endpoints, ...wave.endpoints])],
    percent: wave.percent,
  }
}

function rowOf({ name, channel }: Promotion, { current, next }: ChannelState, at: Date): ChannelRow {
  return {
    name,
    channel,
    current_version: current,
    next_version: next?.version ?? null,
    wave: next?.wave ?? null,
    changed_at: at,
  }
}

function unknownRelease(name: string, version: string): ReleaseError {
  return new ReleaseError('RELEASE_UNKNOWN', `${name}:${version} is not published`, {
    remedy: 'Have it signed and publish it first: trustcast image publish',
  })
}
