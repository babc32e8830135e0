export { activatedDescriptors, standardStreams } from './inherited.ts'
export { NbdServer, type NbdServerOptions } from './nbd-server.ts'
