import { ByteFeed, type Parser } from './byte-feed.ts'
import { filterClientStream } from './client-stream.ts'
import type { Inflate } from './cut-text.ts'
import type { RfbFilter, RfbFilterOptions, RfbOutput, RfbRights } from './filter-types.ts'
import { HeldInput } from './held-input.ts'
import { RfbError } from './rfb-error.ts'
import { filterServerStream } from './server-stream.ts'
import { Session } from './session.ts'

/** Most bytes of the server that wait for a thaw: a whole uncompressed 4K picture, and some. */
const maxFrozenBytes = 64 * 1024 * 1024

/** A filter for one connection whose handshake has not begun. RFB 3.8 with security None; spec: RFC 6143, rfbproto. */
export function createRfbFilter(options: RfbFilterOptions): RfbFilter {
  const session = new Session(options.rights)
  const held = new HeldInput()
  const inflate: Inflate = (data, maxBytes) => options.inflate(data, maxBytes)
  const fromServer = parse((feed) => filterServerStream(feed, session, inflate))
  const fromClient = parse((feed) => filterClientStream(feed, session, held, inflate))
  const frozen = new FrozenBytes()
  let broken: unknown

  /** A stream that lost its place must never be continued. */
  const attempt = (action: () => void): RfbOutput => {
    if (broken !== undefined)
      throw new RfbError('RFB_BROKEN', 'the connection failed before', { cause: broken })
    try {
      action()
      return session.collect()
    } catch (error) {
      broken = error
      throw error
    }
  }
  const releaseInput = (): void => {
    if (!session.mayInput) for (const message of held.release()) session.sendToServer(message)
  }

  return {
    fromServer: (bytes) => attempt(() => (session.frozen ? frozen.add(bytes) : fromServer(bytes))),
    fromClient: (bytes) => attempt(() => fromClient(bytes)),
    setRights: (next) =>
      attempt(() => {
        applyRights(session, next)
        releaseInput()
      }),
    freeze: () =>
      attempt(() => {
        session.frozen = true
        releaseInput()
      }),
    thaw: () =>
      attempt(() => {
        session.frozen = false
        for (const bytes of frozen.takeAll()) fromServer(bytes)
        session.refresh([session.screen])
      }),
  }
}

/** The server's picture replaces the strokes of the old watermark; the new one is drawn over what it sends. */
function applyRights(session: Session, rights: RfbRights): void {
  const before = session.watermark
  const wasMarked = session.rights.watermark !== undefined
  session.rights = rights
  session.updateWatermark()
  if (wasMarked !== (rights.watermark !== undefined)) session.sendEncodings()
  if (before !== session.watermark) {
    session.refresh([...(before?.areas ?? []), ...(session.watermark?.areas ?? [])])
  }
}

/** Drives a parser: gives it each piece as it comes. */
function parse(start: (feed: ByteFeed) => Parser): (bytes: Uint8Array) => void {
  const feed = new ByteFeed()
  const parser = start(feed)
  parser.next()
  return (bytes) => {
    feed.feed(bytes)
    if (bytes.length > 0) parser.next()
  }
}

/** What the server sent while the connection was frozen. */
class FrozenBytes {
  #pieces: Uint8Array[] = []
  #length = 0

  add(bytes: Uint8Array): void {
    this.#length += bytes.length
    if (this.#length > maxFrozenBytes) {
      throw new RfbError(
        'RFB_FROZEN',
        `the server sent ${this.#length} bytes while frozen; expected at most ${maxFrozenBytes}`,
      )
    }
    this.#pieces.push(bytes.slice())
  }

  takeAll(): readonly Uint8Array[] {
    const pieces = this.#pieces
    this.#pieces = []
    this.#length = 0
    return pieces
  }
}
