export {
  type AllowList,
  answerName,
  type Destination,
  destinationOf,
  portsOf,
} from './guest-network.ts'
export {
  decodeMonitorMessage,
  encodeMonitorCommand,
  type MonitorMessage,
  maximumLineBytes,
} from './monitor-message.ts'
export { qemuArguments, type VmConnections } from './qemu-command.ts'
export { describeVm, isIpv4, type VmConfig, type VmNetwork, vmConfig } from './vm-config.ts'
export { vmConfigFile } from './vm-config-file.ts'
export { VmError, type VmErrorCode } from './vm-error.ts'
