export { activatedDescriptors, standardStreams } from './inherited.ts'
export { NbdServer, type NbdServerOptions } from './nbd-server.ts'
export { NbdServerError, type NbdServerErrorCode } from './nbd-server-error.ts'
export { deviceErrors, refusalBy } from './refusal-by.ts'
