import { encodeUtf8 } from '#core/bytes/index.ts'
import { encoding } from './encodings.ts'
import { encodeFence, fenceFlag } from './messages.ts'
import type { PixelFormat } from './pixel-format.ts'
import { RfbError } from './rfb-error.ts'
import type { Session } from './session.ts'

/** Payload of the filter's own fences, answered in order. Forbidden to viewers: their answers would be taken for ours. */
const mark = encodeUtf8('rfb-filter format')
const maxPending = 16

/**
 * The fence to send right before a SetPixelFormat: what the server sends after its answer has the new format.
 *
 * Spec: rfbproto "ClientFence", SyncNext
 *
 * @throws {RfbError} RFB_PIXEL_FORMAT without fences, or with too many changes under way
 */
export function clientFormatFence(session: Session, format: PixelFormat): Uint8Array {
  if (!session.serverFences || !session.lists(encoding.fence) || session.formatChanges.length >= maxPending) {
    throw new RfbError(
      'RFB_PIXEL_FORMAT',
      'the viewer changed its pixel format while pictures were under way',
      {
        remedy: 'Choose the colour level of the viewer before connecting.',
      },
    )
  }
  session.formatChanges.push(format)
  return encodeFence(fenceFlag.request | fenceFlag.syncNext, mark)
}

export function isFormatFence(payload: Uint8Array): boolean {
  return payload.length === mark.length && mark.every((byte, index) => payload[index] === byte)
}

/**
 * Takes the server's answer to one of the filter's fences: its format holds from here on.
 *
 * @throws {RfbError} RFB_MALFORMED when none is awaited
 */
export function applyFormatFence(session: Session): void {
  const format = session.formatChanges.shift()
  if (format === undefined)
    throw new RfbError('RFB_MALFORMED', 'the server answered a fence that was not sent')
  session.format = format
  session.updateWatermark()
}
