import type { WorkspaceDefinition } from '#core/api/admin.ts'
import { signDirection } from '#core/release/index.ts'
import type { Site } from '../site.ts'

/** A release that people have signed, as the site knows it. */
export interface PublishedRelease {
  readonly name: string
  readonly version: string
  readonly counter: number
  /** SHA-256, hex. */
  readonly manifestDigest: string
}

/** Which release of an image a channel points at for an endpoint; undefined while none is published there. */
export type FindRelease = (
  disk: Pick<NonNullable<WorkspaceDefinition['disk']>, 'image' | 'channel'>,
  endpoint: {
    readonly id: string
    readonly groups: readonly string[]
    /** The highest counter that it says to have accepted of the image. */
    readonly floor?: number | undefined
  },
) => Promise<PublishedRelease | undefined>

/** A direction is used at once, or asked for anew. */
const directionLifetimeMs = 5 * 60_000

/** The director's word to one endpoint over the nonce of its launch (I4): the endpoint checks it beside the release keys' signatures. */
export function direct(
  site: Site,
  release: PublishedRelease,
  to: { readonly endpointId: string; readonly nonce: string; readonly channel: string },
): string {
  const now = site.now()
  const said = signDirection(site.directorKey, {
    site: site.siteId,
    endpoint: to.endpointId,
    nonce: to.nonce,
    name: release.name,
    version: release.version,
    counter: release.counter,
    manifestDigest: release.manifestDigest,
    channel: to.channel,
    issuedAtMs: now,
    expiresAtMs: now + directionLifetimeMs,
  })
  return Buffer.from(said).toString('base64url')
}
