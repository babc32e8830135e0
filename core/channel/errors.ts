import { CodedError } from '#core/errors/coded-error.ts'

export type NoiseErrorCode =
  /** A message that is longer than 65535 bytes. */
  | 'NOISE_TOO_LONG'
  /** A handshake message that ended early. */
  | 'NOISE_SHORT'
  /** A message that was not made with the same keys, transcript and counter, or was altered. */
  | 'NOISE_DECRYPT'
  /** A public key with which every shared secret is zero. */
  | 'NOISE_WEAK_KEY'
  /** The pattern needs a key that was not given, or was given one it has no place for. */
  | 'NOISE_KEYS'
  /** The other party's turn, or a handshake that has failed or ended. */
  | 'NOISE_STATE'

export class NoiseError extends CodedError<NoiseErrorCode> {}

export type ChannelErrorCode =
  /** Bytes that are no open message, reply or frame. */
  | 'CHANNEL_MALFORMED'
  /** An authentic frame that the protocol does not allow here. */
  | 'CHANNEL_PROTOCOL'
  /** A record that is not the next one of the other end: altered, dropped, repeated or swapped on the way. */
  | 'CHANNEL_TAMPERED'
  /** More than the receiving end may be asked to hold. */
  | 'CHANNEL_FLOODED'
  /** The transport closed, or could not be made. */
  | 'CHANNEL_TRANSPORT'
  /** The other end was silent for too long. */
  | 'CHANNEL_SILENT'
  /** The other end refused; it was not authenticated, so this only means: ask the site for a new ticket. */
  | 'CHANNEL_REFUSED'
  /** The other end asked to come back a little later. */
  | 'CHANNEL_BUSY'
  /** The channel was interrupted for longer than it is kept. */
  | 'CHANNEL_EXPIRED'
  /** The caller went on sending far above high water. */
  | 'CHANNEL_OVERFLOW'
  /** A callback of the caller threw. */
  | 'CHANNEL_CALLBACK'
  /** The channel is closed. */
  | 'CHANNEL_CLOSED'
  /** Options that make no sense. */
  | 'CHANNEL_OPTIONS'

export class ChannelError extends CodedError<ChannelErrorCode> {}
