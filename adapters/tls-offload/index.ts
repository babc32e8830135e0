export { offloadable } from './offload.ts'
export { OffloadedSocket } from './offloaded-socket.ts'
