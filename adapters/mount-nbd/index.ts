export { type Mount, type MountOptions, mountDisk } from './mount-disk.ts'
export { MountError, type MountErrorCode } from './mount-error.ts'
export { identify, isRunning, type ProcessId } from './process-id.ts'
export { deviceLeft, type Unmounted, unmountLeftovers } from './undo.ts'
