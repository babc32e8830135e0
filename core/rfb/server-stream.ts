import { concatBytes } from '#core/bytes/index.ts'
import type { ByteFeed, Parser } from './byte-feed.ts'
import { viewOf } from './byte-feed.ts'
import { filterCutText, type Inflate } from './cut-text.ts'
import { encoding } from './encodings.ts'
import { applyFormatFence, isFormatFence } from './format-fence.ts'
import { expectVersion, noneSecurity } from './handshake.ts'
import {
  encodeLastRectangle,
  encodeUpdateHeader,
  fenceFlag,
  maxFenceBytes,
  serverMessage,
} from './messages.ts'
import { decodePixelFormat, type PixelFormat } from './pixel-format.ts'
import {
  decodeRectangleHeader,
  drawsPixels,
  maxNameBytes,
  passRectangle,
  type RectangleHeader,
} from './rectangle.ts'
import { RfbError } from './rfb-error.ts'
import type { Session } from './session.ts'

/**
 * Everything the server says, from its version on. Pictures pass as they come, with the watermark at the end of each.
 *
 * @throws {RfbError}
 */
export function* filterServerStream(feed: ByteFeed, session: Session, inflate: Inflate): Parser {
  let format = yield* shakeHands(feed, session)
  session.format = format
  session.updateWatermark()
  session.report({ kind: 'ready' })
  for (;;) {
    const type = yield* feed.u8()
    format = session.format
    switch (type) {
      case serverMessage.update:
        yield* filterUpdate(feed, session, format)
        break
      case serverMessage.colourMap:
        yield* passColourMap(feed, session)
        break
      case serverMessage.bell:
      case serverMessage.endOfContinuousUpdates:
        session.sendToClient(Uint8Array.of(type))
        break
      case serverMessage.cutText:
        yield* filterCutText(feed, session, 'out', inflate)
        break
      case serverMessage.fence:
        yield* filterFence(feed, session)
        break
      default:
        throw new RfbError('RFB_UNKNOWN_MESSAGE', `the server sent message ${type}`)
    }
  }
}

/** RFC 6143 sections 7.1 and 7.3: the viewer is offered no other security type than None. */
function* shakeHands(feed: ByteFeed, session: Session): Parser<PixelFormat> {
  session.sendToClient(expectVersion('server', yield* feed.take(12)))
  const types = yield* feed.take(yield* feed.u8())
  if (!types.includes(noneSecurity))
    throw refused(`offered security types [${types.join(', ')}] without ${noneSecurity}`)
  session.sendToClient(Uint8Array.of(1, noneSecurity))
  const result = yield* feed.take(4)
  if (viewOf(result).getUint32(0) !== 0) throw refused('refused the connection')
  session.sendToClient(result)
  const init = (yield* feed.take(24)).slice()
  const view = viewOf(init)
  const nameBytes = view.getUint32(20)
  if (nameBytes > maxNameBytes) throw new RfbError('RFB_TOO_LONG', `a desktop name of ${nameBytes} bytes`)
  session.sendToClient(concatBytes(init, yield* feed.take(nameBytes)))
  session.resize(view.getUint16(0), view.getUint16(2))
  return decodePixelFormat(init.subarray(4, 20))
}

/** The number of rectangles that means: until LastRect. */
const untilLast = 0xffff

/**
 * RFC 6143 section 7.6.1: padding | count u16 | rectangles
 *
 * The watermark's rectangles must be in the same message, or a picture without them would be shown for a moment. How many
 * there will be shows only at the end, so the count becomes "until LastRect" for viewers that know it.
 */
function* filterUpdate(feed: ByteFeed, session: Session, format: PixelFormat): Parser {
  const count = viewOf(yield* feed.take(3)).getUint16(1)
  const open = session.watermark !== undefined && session.lists(encoding.lastRect)
  session.sendToClient(encodeUpdateHeader(open ? untilLast : count))
  for (let left = count === untilLast ? Number.POSITIVE_INFINITY : count; left > 0; left--) {
    const bytes = yield* feed.take(12)
    const rectangle = decodeRectangleHeader(bytes)
    const last = rectangle.encoding === encoding.lastRect
    if (last && open) break
    session.sendToClient(bytes)
    if (last) break
    noteRectangle(session, rectangle)
    yield* passRectangle(feed, rectangle, format, session.sendToClient)
  }
  const marks = session.watermark?.draw()
  if (marks !== undefined && marks.rectangles > 0) {
    if (!open) session.sendToClient(encodeUpdateHeader(marks.rectangles))
    session.sendToClient(marks.bytes)
  }
  if (open) session.sendToClient(encodeLastRectangle())
}

function noteRectangle(session: Session, rectangle: RectangleHeader): void {
  const { width, height } = rectangle
  if (drawsPixels(rectangle)) session.watermark?.touch(rectangle)
  switch (rectangle.encoding) {
    case encoding.desktopSize:
      return session.resize(width, height)
    case encoding.extendedDesktopSize:
      // x is the reason (1: this viewer asked), y an error.
      if (rectangle.x !== 1 || rectangle.y === 0) session.resize(width, height)
      return
    case encoding.extendedMouseButtons:
      session.serverExtendedButtons = true
      return
    case encoding.copyRect:
      // On its way since before the watermark was set: it may have copied strokes along.
      if (session.watermark !== undefined) session.refresh([rectangle])
      return
    default:
  }
}

/** RFC 6143 section 7.6.2: padding | first u16 | count u16 | count × 3 × u16 */
function* passColourMap(feed: ByteFeed, session: Session): Parser {
  const head = yield* feed.take(5)
  session.sendToClient(concatBytes(Uint8Array.of(serverMessage.colourMap), head))
  yield* feed.pass(viewOf(head).getUint16(3) * 6, session.sendToClient)
}

/** rfbproto "ServerFence": 3 padding | flags u32 | length u8 | payload */
function* filterFence(feed: ByteFeed, session: Session): Parser {
  const head = (yield* feed.take(8)).slice()
  const length = head[7] ?? 0
  if (length > maxFenceBytes) throw new RfbError('RFB_TOO_LONG', `the server sent a fence of ${length} bytes`)
  const payload = yield* feed.take(length)
  session.serverFences = true
  const isAnswer = (viewOf(head).getUint32(3) & fenceFlag.request) === 0
  if (isAnswer && isFormatFence(payload)) applyFormatFence(session)
  else session.sendToClient(concatBytes(Uint8Array.of(serverMessage.fence), head, payload))
}

function refused(what: string): RfbError {
  return new RfbError('RFB_BAD_HANDSHAKE', `the server ${what}`)
}
