import type { DesiredSession } from '#core/agent/messages.ts'
import type { SessionNotice } from '#core/api/person.ts'
import type { ClipboardSwitches } from '#core/broker/display.ts'
import { encodeUtf8 } from '#core/bytes/index.ts'
import type { RfbRights } from '#core/rfb/index.ts'

/** A channel keeps notices up to this size whole. */
const maximumNoticeBytes = 65_518

/** What the filter on the picture's stream enforces. `now`: Unix time, ms. */
export function rfbRightsOf(session: DesiredSession, now: number): RfbRights {
  const { rights, obligations, fullName } = session
  return {
    input: rights.includes('input'),
    clipboardIn: rights.includes('clipboard-in'),
    clipboardOut: rights.includes('clipboard-out'),
    clipboardMaxBytes: obligations.clipboardMaxBytes,
    watermark: obligations.watermark ? [fullName, minuteOf(now)] : undefined,
  }
}

/** What the display server itself lets through, behind the filter. */
export function clipboardOf({ rights, frozen }: DesiredSession): ClipboardSwitches {
  return {
    in: !frozen && rights.includes('clipboard-in'),
    out: !frozen && rights.includes('clipboard-out'),
  }
}

/**
 * The site's notice as the viewer gets it. Only the site's `starting` is corrected: who is connected sees a session that runs,
 * and the site says nothing again just because the host got ready.
 */
export function encodeNotice(notice: SessionNotice): Uint8Array {
  const shown: SessionNotice = notice.state === 'starting' ? { ...notice, state: 'ready' } : notice
  const whole = encodeUtf8(JSON.stringify(shown))
  if (whole.length <= maximumNoticeBytes) return whole
  // The explanations go first: what holds is enforced here, whether or not it is explained.
  const end = shown.end && { ...shown.end, reason: shown.end.reason.slice(0, 1000), unlocks: [] }
  return encodeUtf8(JSON.stringify({ ...shown, restrictions: [], ...(end && { end }) }))
}

/** Such as `2026-03-01 09:30 UTC`. */
function minuteOf(now: number): string {
  return `${new Date(now).toISOString().slice(0, 16).replace('T', ' ')} UTC`
}
