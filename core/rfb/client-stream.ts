import { concatBytes } from '#core/bytes/index.ts'
import type { ByteFeed, Parser } from './byte-feed.ts'
import { viewOf } from './byte-feed.ts'
import { filterCutText, type Inflate } from './cut-text.ts'
import { encoding, isParsable } from './encodings.ts'
import { clientFormatFence, isFormatFence } from './format-fence.ts'
import { expectVersion, noneSecurity } from './handshake.ts'
import type { HeldInput } from './held-input.ts'
import { clientMessage, maxFenceBytes } from './messages.ts'
import { decodePixelFormat } from './pixel-format.ts'
import { RfbError } from './rfb-error.ts'
import type { Session } from './session.ts'

/** Longest list of encodings taken from a viewer. */
const maxEncodings = 1024

/**
 * Everything the viewer says, from its version on. Each message is read whole before it is passed.
 *
 * @throws {RfbError}
 */
export function* filterClientStream(
  feed: ByteFeed,
  session: Session,
  held: HeldInput,
  inflate: Inflate,
): Parser {
  session.sendToServer(expectVersion('viewer', yield* feed.take(12)))
  const security = yield* feed.u8()
  if (security !== noneSecurity) {
    throw new RfbError(
      'RFB_BAD_HANDSHAKE',
      `the viewer chose security type ${security}; expected ${noneSecurity}`,
    )
  }
  session.sendToServer(Uint8Array.of(security))
  yield* feed.skip(1)
  // Always shared: a viewer must not throw the others out.
  session.sendToServer(Uint8Array.of(1))
  for (;;) {
    const type = yield* feed.u8()
    if (session.format === undefined) {
      throw new RfbError(
        'RFB_BAD_HANDSHAKE',
        `the viewer sent message ${type} before the server's ServerInit`,
      )
    }
    yield* filterMessage(type, feed, session, held, inflate)
  }
}

function* filterMessage(
  type: number,
  feed: ByteFeed,
  session: Session,
  held: HeldInput,
  inflate: Inflate,
): Parser {
  switch (type) {
    case clientMessage.setPixelFormat:
      return setPixelFormat(session, yield* message(feed, type, 20))
    case clientMessage.setEncodings:
      return yield* setEncodings(feed, session)
    case clientMessage.updateRequest:
      return requestUpdates(session, yield* message(feed, type, 10))
    case clientMessage.continuousUpdates:
      session.updatesRequested = true
      return session.sendToServer(yield* message(feed, type, 10))
    case clientMessage.keyEvent:
      return key(session, held, yield* message(feed, type, 8))
    case clientMessage.qemu: {
      const bytes = yield* message(feed, type, 12)
      if (bytes[1] !== 0)
        throw new RfbError('RFB_UNKNOWN_MESSAGE', `the viewer sent QEMU message ${bytes[1]}`)
      return key(session, held, bytes)
    }
    case clientMessage.pointerEvent:
      return yield* pointer(feed, session, held)
    case clientMessage.cutText:
      return yield* filterCutText(feed, session, 'in', inflate)
    case clientMessage.fence:
      return yield* fence(feed, session)
    case clientMessage.xvp:
      // Shutting down and resetting is no right of a viewer.
      return yield* feed.skip(3)
    case clientMessage.setDesktopSize: {
      const head = yield* message(feed, type, 8)
      return session.sendToServer(concatBytes(head, yield* feed.take((head[6] ?? 0) * 16)))
    }
    default:
      throw new RfbError('RFB_UNKNOWN_MESSAGE', `the viewer sent message ${type}`)
  }
}

/** A message of `length` bytes, type included, in memory of its own. */
function* message(feed: ByteFeed, type: number, length: number): Parser<Uint8Array> {
  return concatBytes(Uint8Array.of(type), yield* feed.take(length - 1))
}

/**
 * Before the first request for a picture a new format holds at once. Later the server may have a picture of the old format
 * under way: a fence that ends exactly where the format changes (SyncNext) tells. Without fences only the old format passes.
 */
function setPixelFormat(session: Session, bytes: Uint8Array): void {
  const format = decodePixelFormat(bytes.subarray(4))
  const latest = session.formatChanges.at(-1) ?? session.format
  if (format.identity !== latest?.identity) {
    if (session.updatesRequested) session.sendToServer(clientFormatFence(session, format))
    else {
      session.format = format
      session.updateWatermark()
    }
  }
  session.sendToServer(bytes)
}

function* setEncodings(feed: ByteFeed, session: Session): Parser {
  const count = viewOf(yield* feed.take(3)).getUint16(1)
  if (count > maxEncodings) {
    throw new RfbError(
      'RFB_TOO_LONG',
      `the viewer listed ${count} encodings; expected at most ${maxEncodings}`,
    )
  }
  const view = viewOf(yield* feed.take(4 * count))
  const numbers = Array.from({ length: count }, (_, index) => view.getInt32(4 * index))
  session.setEncodings(numbers.filter(isParsable))
}

function requestUpdates(session: Session, bytes: Uint8Array): void {
  session.updatesRequested = true
  if (!session.frozen) session.sendToServer(bytes)
}

function key(session: Session, held: HeldInput, bytes: Uint8Array): void {
  if (!session.mayInput || !held.key(bytes)) return
  session.sendToServer(bytes)
  session.report({ kind: 'input' })
}

/**
 * Spec: RFC 6143 section 7.5.5: buttons u8 | x u16 | y u16
 *       rfbproto "Extended Mouse Buttons": the highest button announces one more byte
 *
 * Only a server that knows the extension and was told that the viewer does reads that byte. Otherwise the bit is cleared,
 * so that both always agree on where the next message begins.
 */
function* pointer(feed: ByteFeed, session: Session, held: HeldInput): Parser {
  const bytes = yield* message(feed, clientMessage.pointerEvent, 6)
  const view = viewOf(bytes)
  let buttons = view.getUint8(1)
  const extended = session.serverExtendedButtons && session.lists(encoding.extendedMouseButtons)
  const more = extended && buttons & 0x80 ? yield* feed.take(1) : new Uint8Array(0)
  if (!extended) buttons &= 0x7f
  if (!session.mayInput) return
  view.setUint8(1, buttons)
  held.pointer(view.getUint16(2), view.getUint16(4), buttons)
  session.sendToServer(concatBytes(bytes, more))
  session.report({ kind: 'input' })
}

/** Spec: rfbproto "ClientFence": 3 padding | flags u32 | length u8 | payload */
function* fence(feed: ByteFeed, session: Session): Parser {
  const head = yield* message(feed, clientMessage.fence, 9)
  const length = head[8] ?? 0
  if (length > maxFenceBytes) {
    throw new RfbError(
      'RFB_TOO_LONG',
      `the viewer sent a fence of ${length} bytes; expected at most ${maxFenceBytes}`,
    )
  }
  const payload = yield* feed.take(length)
  if (isFormatFence(payload))
    throw new RfbError('RFB_MALFORMED', "the viewer sent one of the filter's own fences")
  session.sendToServer(concatBytes(head, payload))
}
