/** The words of the product. One word means one thing in code, database, API and console. */

/** How a workspace reaches a person. */
export const deliveryModes = [
  'hosted-shared',
  'hosted-vm',
  'hosted-blade',
  'streamed-disk',
  'local-vm',
  'network-boot',
] as const
export type DeliveryMode = (typeof deliveryModes)[number]

/** Where a workspace's data is while it runs. */
export const dataPlaces = ['datacenter', 'datacenter-vm', 'blade', 'endpoint'] as const
export type DataPlace = (typeof dataPlaces)[number]

/** The data place that each delivery mode implies. */
export const placeOf: Readonly<Record<DeliveryMode, DataPlace>> = {
  'hosted-shared': 'datacenter',
  'hosted-vm': 'datacenter-vm',
  'hosted-blade': 'blade',
  'streamed-disk': 'endpoint',
  'local-vm': 'endpoint',
  'network-boot': 'endpoint',
}

/** What a person may do inside a delivery; each is asked of the policy on its own. */
export const rights = ['input', 'clipboard-in', 'clipboard-out'] as const
export type Right = (typeof rights)[number]

/** Conditions that a decision attaches to a delivery. When several policies set one, the strictest wins. */
export interface Obligations {
  /** Largest clipboard transfer in either direction, bytes. */
  readonly clipboardMaxBytes: number
  /** Show the person's name and the time over the picture. */
  readonly watermark: boolean
  /** The session ends after this many minutes, whatever happens. */
  readonly sessionMinutes: number
  /** The session ends after this many minutes without input. */
  readonly idleMinutes: number
  /** The session ends after this many minutes without a viewer. */
  readonly disconnectMinutes: number
  /** An endpoint that holds data goes on for so many minutes without a word of the site; then its key is gone. */
  readonly leaseMinutes: number
  /** What becomes of what was written on an endpoint when its lease is over. */
  readonly overlay: Overlay
}

/**
 * Stricter first: what is discarded is read by nobody, what is kept lies on one endpoint, and what is replicated is kept
 * and lies in the data centre, too, encrypted.
 */
export const overlays = ['discard', 'keep', 'replicate'] as const
export type Overlay = (typeof overlays)[number]

/** Whether what was written is there the next time. */
export function isKept(overlay: string): boolean {
  return overlay === 'keep' || overlay === 'replicate'
}

/** How a claim came to be known, best first. */
export const claimSources = ['attested', 'corroborated', 'server', 'self'] as const
export type ClaimSource = (typeof claimSources)[number]

/** One fact about a person, an endpoint or a network. */
export interface Claim {
  /** Dotted name from the claim vocabulary, such as `endpoint.diskEncryption`. */
  readonly name: string
  readonly value: string
  readonly source: ClaimSource
  /** Unix time, ms. */
  readonly observedAt: number
}
