import type { DesktopNotice } from '#adapters/notify-desktop/index.ts'
import type { Verdict } from '#core/agent/endpoint-messages.ts'
import { isClaimName, rankOf, unknownValue } from '#core/trust/index.ts'

type Claim = Verdict['claims'][number]

/**
 * Watches what the site makes of this device, and tells when something about it or its network is known to be bad that was not before,
 * with what to do; and when all of that is mended.
 */
export function trustWatch(tell: (notice: DesktopNotice) => void): (verdict: Verdict) => void {
  let before: ReadonlySet<string> | undefined
  return ({ claims }) => {
    const bad = claims.filter(isBad)
    const known = before
    before = new Set(bad.map(({ name, value }) => `${name} ${value}`))
    const fresh = bad.filter(({ name, value }) => known?.has(`${name} ${value}`) !== true)
    if (fresh.length > 0) tell(noticeOf(fresh, known === undefined ? first : fallen))
    else if (bad.length === 0 && known !== undefined && known.size > 0) tell(mended)
  }
}

const mended: DesktopNotice = {
  title: 'This device is trusted again',
  body: 'What was wrong with it is mended. Your portal shows what can be open on it now.',
  isCritical: false,
}

/** Heads of a notice: of the first verdict after a start nobody knows whether it has changed anything. */
const first = { title: 'This device could be trusted more', isCritical: false } as const
const fallen = { title: 'Trust in this device has fallen', isCritical: true } as const

/** Which network it is, and that there is no VPN, is no fault: a person who goes home is not told. */
const places: ReadonlySet<string> = new Set(['network.zone', 'network.vpn'])

/** Worse than when nothing is known. */
function isBad({ name, value }: Claim): boolean {
  return isClaimName(name) && !places.has(name) && rankOf(name, value) < rankOf(name, unknownValue)
}

function noticeOf(claims: readonly Claim[], head: Omit<DesktopNotice, 'body'>): DesktopNotice {
  const words = claims.map(({ label, value, remedy }) =>
    remedy === undefined ? `${label}: ${value}.` : `${label}: ${value}. ${remedy.replace(/\.$/, '')}.`,
  )
  return { ...head, body: words.join('\n') }
}
