export { defaultLimits, type PostureLimits } from './limits.ts'
export {
  type ClamdPlaces,
  type ClamdState,
  judgeClamd,
  parseClamdConf,
  parseClamdVersion,
} from './linux/clamd.ts'
export { judgeDebugger, parseProcessStatus } from './linux/debuggers.ts'
export {
  type BlockFacts,
  dataMounts,
  judgeDisks,
  type MountFacts,
  parseMountInfo,
  parseSwaps,
  type VolumeFacts,
} from './linux/disks.ts'
export {
  type Filtered,
  hasGlobalIp6,
  isFilteredByIptables,
  judgeFirewall,
  parseNft,
} from './linux/firewall.ts'
export { judgeMachine, type MachineFacts } from './linux/machine.ts'
export {
  type AccountFacts,
  judgeLocalAdmin,
  parseGroupNames,
  parseSessionIds,
  sittingPerson,
} from './linux/people.ts'
export {
  type DesktopLock,
  gnomeLockOf,
  gnomeSettings,
  judgeScreenLock,
  knownLockers,
} from './linux/screen-lock.ts'
export { judgeSecureBoot } from './linux/secure-boot.ts'
export {
  countAptSecurity,
  countDnfSecurity,
  judgeUpdates,
  lastAptUpgrade,
  lastDpkgUpgrade,
  lastRpmInstall,
  latest,
  parseOsRelease,
  type UpdateFacts,
} from './linux/updates.ts'
export { macosProbes } from './macos/probes.ts'
export { maxDetailChars, observe, unknown, worstOf } from './observe.ts'
export { osqueryProbes } from './osquery/probes.ts'
export { type CommandOutput, type CommandProbe, probing } from './probe.ts'
export { isOf, judgePrograms, nameOf, type ProcessFacts } from './programs.ts'
export { defaultRules, type PostureRules, postureRules } from './rules.ts'
export { atMostEvery, type WatchingCollector } from './watching.ts'
export { windowsProbes } from './windows/probes.ts'
