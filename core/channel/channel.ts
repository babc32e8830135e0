/** `interrupted` means that the transport is lost and another one is awaited; nothing is lost then. */
export type ChannelState = 'connecting' | 'open' | 'interrupted' | 'closed'

/**
 * One end of an end-to-end encrypted stream that outlives its transports.
 *
 * What arrives is exactly what was sent, in order, or the channel ends. Callbacks run one at a time; one that throws
 * closes the channel.
 */
export interface Channel {
  /**
   * Takes a copy of the data. False above high water: wait for `drained`. A caller that goes on far beyond that has
   * its channel closed (CHANNEL_OVERFLOW). On a closed channel the data is dropped, and `drained` rejects.
   */
  send(data: Uint8Array): boolean
  /** Waits until there is room. @throws {ChannelError} CHANNEL_CLOSED; the signal's reason */
  drained(signal?: AbortSignal): Promise<void>
  /** Sends a message that is kept whole, in order with the data. At most 65518 bytes, or CHANNEL_OPTIONS is thrown. */
  notice(data: Uint8Array): void
  /** The network may be another one now: the other end is asked for a sign of life, or if there is no transport, one is tried at once. */
  probe(): void
  /** Ends the channel; data sent before still arrives when the transport is there. The reason is cut at 1024 bytes. */
  close(reason: string): void
  /** Round-trip time to the other end, smoothed. */
  readonly rttMs: number | undefined
  readonly state: ChannelState
  /** While it is null, data waits and the other end is held back by not being acknowledged. */
  onData: ((data: Uint8Array) => void) | null
  /** A notice that comes while it is null is dropped. */
  onNotice: ((data: Uint8Array) => void) | null
  /** The reason is a code of `ChannelError` or what an end gave to `close`. */
  onState: ((state: ChannelState, reason: string | undefined) => void) | null
}

/** Default time that an interrupted channel is kept. */
export const defaultResumeMs = 180_000

/** Default high water of data that was not acknowledged. */
export const defaultReplayBytes: number = 4 << 20

/** Largest high water: the other end refuses to hold more than a few times this. */
export const maximumReplayBytes: number = 8 << 20
