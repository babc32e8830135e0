/** What the person at the viewer may do. */
export interface RfbRights {
  /** Keys and pointer. */
  readonly input: boolean
  /** Text from the viewer into the session. */
  readonly clipboardIn: boolean
  /** Text from the session to the viewer. */
  readonly clipboardOut: boolean
  /** Largest text in either direction, bytes; above 16 MiB counts as 16 MiB. */
  readonly clipboardMaxBytes: number
  /** Lines of text drawn over every picture; `undefined` for none. */
  readonly watermark: readonly string[] | undefined
}

/** `in`: from the viewer into the session. */
export type ClipboardDirection = 'in' | 'out'

export type RfbEvent =
  /** The handshake is done and the picture may come. */
  | { readonly kind: 'ready' }
  /** Some key or pointer event was passed; at most once in each output. */
  | { readonly kind: 'input' }
  | { readonly kind: 'clipboard-passed'; readonly direction: ClipboardDirection; readonly bytes: number }
  /** `bytes` is as announced (compressed, or 0 when only the presence of text was announced). */
  | {
      readonly kind: 'clipboard-blocked'
      readonly direction: ClipboardDirection
      readonly bytes: number
      readonly why: 'right' | 'size'
    }

/** What to send where, in order. Pieces may be views of the bytes just given: send or copy them before reusing that buffer. */
export interface RfbOutput {
  readonly toClient: readonly Uint8Array[]
  readonly toServer: readonly Uint8Array[]
  readonly events: readonly RfbEvent[]
}

/**
 * Stands between an RFB server and an untrusted viewer and enforces the rights on both streams.
 * One for each connection. Every method throws an RfbError when a peer breaks the protocol, and from then on always.
 */
export interface RfbFilter {
  fromServer(bytes: Uint8Array): RfbOutput
  fromClient(bytes: Uint8Array): RfbOutput
  /** Takes effect with the next message of each stream, except that no half-sent message is cut. */
  setRights(rights: RfbRights): RfbOutput
  /**
   * From now on no picture, text or input passes. Bytes of the server are held, at most 64 MiB: stop reading from it.
   * Messages of the viewer are parsed, and dropped unless they only keep both ends in step.
   */
  freeze(): RfbOutput
  /** Lets the held bytes go and asks the server for the whole picture. */
  thaw(): RfbOutput
}

export interface RfbFilterOptions {
  readonly rights: RfbRights
  /**
   * Inflates a zlib stream that may end at a sync flush, without an end mark (TigerVNC's do).
   * `undefined` when it is broken or longer than `maxBytes`.
   */
  inflate(data: Uint8Array, maxBytes: number): Uint8Array | undefined
}
