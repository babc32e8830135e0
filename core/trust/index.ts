export {
  AddressError,
  type AddressErrorCode,
  contains,
  formatAddress,
  type IpAddress,
  type Network,
  parseAddress,
  parseNetwork,
} from './address.ts'
export {
  bestValue,
  type ClaimKind,
  type ClaimName,
  claimNames,
  claimVocabulary,
  isClaimName,
  rankOf,
  remedyFor,
  unknownValue,
} from './claims.ts'
export { type BeaconSeen, findZone, type ZoneFinding } from './find-zone.ts'
export {
  isKnownClaim,
  type KnownClaim,
  type Principal,
  type TrustContext,
  type TrustInput,
  trustContext,
} from './trust-context.ts'
export {
  type Claim,
  type ClaimSource,
  claimSources,
  type DataPlace,
  type DeliveryMode,
  deliveryModes,
  type Obligations,
  type Overlay,
  placeOf,
  type Right,
  rights,
} from './words.ts'
export {
  type Arrival,
  clientAddress,
  compileZones,
  defaultZone,
  type Zone,
  type ZoneBeacon,
  type ZoneDefinition,
  type ZoneErrorCode,
  type ZoneKind,
  type ZoneMap,
  zoneKinds,
} from './zone.ts'
