export {
  type Channel,
  type ChannelState,
  defaultReplayBytes,
} from './channel.ts'
export { type ConnectOptions, connectChannel } from './client.ts'
export { type ChannelHost, type ChannelHostOptions, createChannelHost, type Redeemed } from './host.ts'
export type { Scheduler } from './scheduler.ts'
export { seal, unseal } from './seal.ts'
export { channelContext, createTicket, ticketId, ticketPsk } from './ticket.ts'
export { type Transport, type WebSocketLike, webSocketTransport } from './transport.ts'
export { ChannelSocket } from './websocket-like.ts'
export {
  type CryptoKeyPair,
  exportPrivate,
  exportPublic,
  generateX25519,
  importPrivate,
} from './x25519.ts'
