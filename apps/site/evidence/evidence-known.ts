import { hash } from 'node:crypto'
import type { EndpointEvidenceRow } from '#adapters/store-postgres/index.ts'
import {
  type AcceptedEvidence,
  type AttestedValues,
  failureOf,
  faultsIn,
  type Observation,
  type Ratchet,
} from '#core/evidence/index.ts'
import type { BeaconSeen } from '#core/trust/index.ts'
import type { LastQuote } from '../endpoints/attesting.ts'
import { ratchetOf } from './evidence.ts'

/** What this node remembers of an endpoint while it is connected here. */
export interface Known {
  ratchet: Ratchet | undefined
  /** Sequence that the database has. */
  stored: number
  /** What it said last, so that what it says again is not written again. */
  fingerprint: string
  details: string
  /** The faults in it, some of which may stand from before. */
  faults: readonly Observation[]
  writtenAt: number
  /** Nothing stands against writing only that evidence came. */
  isQuiet: boolean
  isForked: boolean
  quote: LastQuote | undefined
}

export function knownFrom(row: EndpointEvidenceRow | undefined): Known {
  const observations = row?.observations ?? []
  return {
    ratchet: ratchetOf(row),
    stored: Number(row?.sequence ?? 0),
    fingerprint:
      row?.seen == null
        ? ''
        : fingerprintOf({
            observations,
            attested: row.attested ?? undefined,
            seen: row.seen,
            address: row.address,
            beacon: row.beacon ?? undefined,
          }),
    details: detailsOf(observations),
    faults: faultsIn(observations),
    writtenAt: 0,
    isQuiet: row !== undefined && !row.silent && row.forked_at === null,
    isForked: row?.forked_at != null,
    quote: undefined,
  }
}

/** Evidence that was accepted, and what came with it. */
export interface Taken extends AcceptedEvidence {
  readonly attested: AttestedValues | undefined
  readonly beacon: BeaconSeen | undefined
}

/** All of it that a claim or the zone hangs on. */
export function fingerprintOf({
  observations,
  attested,
  seen,
  address,
  beacon,
}: Pick<Taken, 'attested' | 'seen' | 'beacon'> & {
  readonly observations: readonly Observation[]
  readonly address: string
}): string {
  const said = observations.map(
    ({ claim, value, collector, detail }) => `${claim}=${value} ${collector} ${failureOf({ detail }) ?? ''}`,
  )
  const shown = attested === undefined ? [] : [attested.secureBoot, attested.bootState, attested.detail]
  return hash(
    'sha256',
    JSON.stringify([said.toSorted(), shown, seen.clock, seen.interception, address, beacon?.kind]),
    'base64url',
  )
}

export function detailsOf(observations: readonly Observation[]): string {
  return hash('sha256', JSON.stringify(observations.map(({ detail }) => detail)), 'base64url')
}
