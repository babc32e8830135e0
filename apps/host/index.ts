export { createHost, type Host, type HostOptions } from './host.ts'
export { HostError, type HostErrorCode } from './host-error.ts'
export { type HostConfig, runHost } from './run-host.ts'
