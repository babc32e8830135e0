import { hash } from 'node:crypto'

/** Who gets the next version of a channel before everybody does. */
export interface Wave {
  /** Endpoints in one of these groups get it first. */
  readonly groups: readonly string[]
  readonly endpoints: readonly string[]
  /** Of all other endpoints, 0 to 100. */
  readonly percent: number
}

/** Where a channel of an image points. */
export interface ChannelState {
  readonly current: string
  readonly next?: { readonly version: string; readonly wave: Wave } | undefined
}

export interface DirectedEndpoint {
  readonly id: string
  readonly groups: readonly string[]
}

/**
 * Where an endpoint stands in the queue for a version, from 0 up to but not 100, in steps of 0.01. The same each time
 * it is asked, another for each version, so that it is not always the same people who try what is new.
 */
export function waveOf(endpointId: string, name: string, version: string): number {
  const digest = hash('sha256', JSON.stringify(['trustcast wave 1', name, version, endpointId]), 'buffer')
  return (digest.readUInt32BE() % 10_000) / 100
}

/**
 * Which version of a channel an endpoint gets.
 *
 * INVARIANT: while groups and endpoints of a wave only grow and so does its percentage, nobody is taken back.
 */
export function directedVersion(
  name: string,
  { current, next }: ChannelState,
  { id, groups }: DirectedEndpoint,
): string {
  if (next === undefined) return current
  const { wave, version } = next
  const isFirst = wave.endpoints.includes(id) || groups.some((group) => wave.groups.includes(group))
  return isFirst || waveOf(id, name, version) < wave.percent ? version : current
}
