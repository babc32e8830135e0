export { BeaconError, type BeaconErrorCode } from './beacon-error.ts'
export { answerRound, checkRound, decodeBytes, maxLineChars, nonceBytes, rounds } from './rounds.ts'
export {
  type BeaconExpected,
  type BeaconStatement,
  beaconKey,
  keyThumbprint,
  makeBeaconStatement,
  maxBeaconStatementChars,
  verifyBeacon,
} from './statement.ts'
