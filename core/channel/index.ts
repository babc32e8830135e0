export {
  type Channel,
  type ChannelState,
  defaultReplayBytes,
  defaultResumeMs,
  maximumReplayBytes,
} from './channel.ts'
export { type ConnectOptions, connectChannel } from './client.ts'
export { ChannelError, type ChannelErrorCode, NoiseError, type NoiseErrorCode } from './errors.ts'
export { type ChannelHost, type ChannelHostOptions, createChannelHost, type Redeemed } from './host.ts'
export { maximumMessageBytes } from './noise.ts'
export { type Scheduler, systemScheduler } from './scheduler.ts'
export { seal, unseal } from './seal.ts'
export { channelContext, createTicket, idBytes, ticketBytes, ticketId, ticketPsk } from './ticket.ts'
export { type Transport, type WebSocketLike, webSocketTransport } from './transport.ts'
export { ChannelSocket } from './websocket-like.ts'
export {
  type CryptoKeyPair,
  exportPrivate,
  exportPublic,
  generateX25519,
  importPrivate,
  importPublic,
} from './x25519.ts'
