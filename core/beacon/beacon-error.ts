import { CodedError } from '#core/errors/coded-error.ts'

export type BeaconErrorCode =
  /** No statement of a beacon at all, or words that no beacon or endpoint says. */
  | 'BEACON_MALFORMED'
  /** Not signed by the beacon of this zone. */
  | 'BEACON_FORGED'
  /** About another nonce of the site: used before, or cut from another report. */
  | 'BEACON_REPLAYED'
  /** About another endpoint, or another key. */
  | 'BEACON_OTHER_ENDPOINT'
  /** Signed too long ago. */
  | 'BEACON_STALE'
  /** The way between beacon and endpoint took too long: somebody carries the words. */
  | 'BEACON_RELAYED'
  /** The endpoint's answer to a challenge was not signed by its key. */
  | 'BEACON_UNPROVEN'
  /** Nobody who is this beacon answers. */
  | 'BEACON_AWAY'

/** A beacon's word that does not count, with its reason. */
export class BeaconError extends CodedError<BeaconErrorCode> {}
