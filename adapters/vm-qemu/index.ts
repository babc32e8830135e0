export { endsWithin, type QemuVm, type StartQemuOptions, startQemu } from './start-qemu.ts'
