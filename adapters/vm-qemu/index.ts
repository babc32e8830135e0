export { Monitor, type VmStatus } from './monitor.ts'
export { endsWithin, type QemuVm, type StartQemuOptions, startQemu } from './start-qemu.ts'
