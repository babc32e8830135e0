import type { ByteFeed, Parser, Sink } from './byte-feed.ts'
import { viewOf } from './byte-feed.ts'
import type { ClipboardDirection } from './filter-types.ts'
import { clientMessage, serverMessage } from './messages.ts'
import { RfbError } from './rfb-error.ts'
import type { Session } from './session.ts'

export type Inflate = (data: Uint8Array, maxBytes: number) => Uint8Array | undefined

/**
 * Reads ClientCutText (`in`) or ServerCutText (`out`) after its type byte, and passes or drops it whole.
 *
 * Spec: RFC 6143 sections 7.5.6 and 7.6.4: 3 padding | length s32 | text
 *       rfbproto "Extended Clipboard": a negative length: flags u32 | data
 *
 * What is not wanted, or longer than any wanted message, is skipped as it comes and never collected.
 *
 * @throws {RfbError} RFB_MALFORMED
 */
export function* filterCutText(
  feed: ByteFeed,
  session: Session,
  direction: ClipboardDirection,
  inflate: Inflate,
): Parser {
  const head = yield* feed.take(7)
  const length = viewOf(head).getInt32(3)
  if (length < 0) yield* filterExtended(feed, session, direction, -length, inflate)
  else yield* filterPlain(feed, session, direction, length)
}

/** Actions of an extended clipboard message: the highest byte of its flags. */
const action = { caps: 1, request: 2, peek: 4, notify: 8, provide: 16 } as const

/** A compressed text may be a little longer than the text. */
const compressionBytes = 256 * 1024

function* filterPlain(
  feed: ByteFeed,
  session: Session,
  direction: ClipboardDirection,
  length: number,
): Parser {
  if (reportBlocked(session, direction, length)) yield* feed.skip(length)
  else {
    const text = yield* feed.take(length)
    // Asked again: the rights may have changed while the text came.
    if (!reportBlocked(session, direction, length)) {
      send(session, direction, length, text)
      session.report({ kind: 'clipboard-passed', direction, bytes: length })
    }
  }
}

function* filterExtended(
  feed: ByteFeed,
  session: Session,
  direction: ClipboardDirection,
  length: number,
  inflate: Inflate,
): Parser {
  if (length < 4) throw malformed(direction, `${length} bytes; expected at least 4`)
  const flags = viewOf(yield* feed.take(4)).getUint32(0)
  const actions = flags >>> 24
  if (actions === action.provide) {
    yield* filterProvide(feed, session, direction, flags, length - 4, inflate)
    return
  }
  const expected = actions & action.caps ? 4 + 4 * countFormats(flags) : 4
  // TigerVNC leaves surplus bytes in its stream, where they would be read as the next message.
  if (length !== expected) throw malformed(direction, `${length} bytes; expected ${expected}`)
  const rest = yield* feed.take(length - 4)
  if (mayAnnounce(session, direction, actions)) send(session, direction, -length, flagsOf(flags), rest)
}

/** True when a message that carries no text may pass. */
function mayAnnounce(session: Session, direction: ClipboardDirection, actions: number): boolean {
  switch (actions & action.caps || actions) {
    case action.caps:
      return true
    case action.request:
    case action.peek:
      // Asking for the other side's text.
      return session.mayCopy(direction === 'in' ? 'out' : 'in')
    case action.notify:
      return !reportBlocked(session, direction, 0)
    default:
      throw malformed(direction, `actions ${actions}`)
  }
}

/** rfbproto "Extended Clipboard", provide: zlib of (size u32 | data) for each format, lowest bit first */
function* filterProvide(
  feed: ByteFeed,
  session: Session,
  direction: ClipboardDirection,
  flags: number,
  length: number,
  inflate: Inflate,
): Parser {
  if (length > session.clipboardMaxBytes + compressionBytes || !session.mayCopy(direction)) {
    reportDropped(session, direction, length)
    yield* feed.skip(length)
    return
  }
  const data = yield* feed.take(length)
  const formats = countFormats(flags)
  const texts = inflate(data, session.clipboardMaxBytes + 4 * formats)
  const bytes = texts && sumOfTexts(texts, formats, direction)
  if (bytes === undefined || bytes > session.clipboardMaxBytes || !session.mayCopy(direction)) {
    reportDropped(session, direction, length)
  } else {
    send(session, direction, -(length + 4), flagsOf(flags), data)
    session.report({ kind: 'clipboard-passed', direction, bytes })
  }
}

function sumOfTexts(texts: Uint8Array, formats: number, direction: ClipboardDirection): number {
  let at = 0
  for (let format = 0; format < formats; format++) {
    if (texts.length - at < 4) throw malformed(direction, `fewer texts than the ${formats} announced`)
    at += 4 + viewOf(texts).getUint32(at)
    if (at > texts.length) throw malformed(direction, 'a text that is shorter than announced')
  }
  return at - 4 * formats
}

/** True when a text of so many bytes may not pass; tells why. */
function reportBlocked(session: Session, direction: ClipboardDirection, bytes: number): boolean {
  if (session.mayCopy(direction) && bytes <= session.clipboardMaxBytes) return false
  reportDropped(session, direction, bytes)
  return true
}

function reportDropped(session: Session, direction: ClipboardDirection, bytes: number): void {
  const why = session.mayCopy(direction) ? 'size' : 'right'
  session.report({ kind: 'clipboard-blocked', direction, bytes, why })
}

function send(session: Session, direction: ClipboardDirection, length: number, ...parts: Uint8Array[]): void {
  const head = new Uint8Array(8)
  head[0] = direction === 'in' ? clientMessage.cutText : serverMessage.cutText
  viewOf(head).setInt32(4, length)
  const sink: Sink = direction === 'in' ? session.sendToServer : session.sendToClient
  for (const part of [head, ...parts]) sink(part)
}

function flagsOf(flags: number): Uint8Array {
  const bytes = new Uint8Array(4)
  viewOf(bytes).setUint32(0, flags)
  return bytes
}

/** The lowest 16 flags are formats. */
function countFormats(flags: number): number {
  let count = 0
  for (let rest = flags & 0xffff; rest !== 0; rest &= rest - 1) count++
  return count
}

function malformed(direction: ClipboardDirection, what: string): RfbError {
  const sender = direction === 'in' ? 'viewer' : 'server'
  return new RfbError('RFB_MALFORMED', `the ${sender} sent an extended clipboard message with ${what}`)
}
