import type { DesktopNotice } from '#adapters/notify-desktop/index.ts'
import type { Verdict } from '#core/agent/endpoint-messages.ts'
import { isClaimName, rankOf, unknownValue } from '#core/trust/index.ts'

type Claim = Verdict['claims'][number]

/**
 * Watches what the site makes of this device, and tells when something about it is known to be bad that was not before, with what to do;
 * and when all of that is mended.
 */
export function trustWatch(tell: (notice: DesktopNotice) => void): (verdict: Verdict) => void {
  let before: ReadonlySet<string> | undefined
  return ({ claims }) => {
    const bad = claims.filter(isBad)
    const known = before
    before = new Set(bad.map(({ name, value }) => `${name} ${value}`))
    const fresh = bad.filter(({ name, value }) => known?.has(`${name} ${value}`) !== true)
    if (fresh.length > 0) tell(lost(fresh))
    else if (bad.length === 0 && known !== undefined && known.size > 0) tell(mended)
  }
}

const mended: DesktopNotice = {
  title: 'This device is trusted again',
  body: 'What was wrong with it is mended. Your portal shows what can be open on it now.',
  isCritical: false,
}

/** Worse than when nothing is known. */
function isBad({ name, value }: Claim): boolean {
  return isClaimName(name) && name.startsWith('endpoint.') && rankOf(name, value) < rankOf(name, unknownValue)
}

function lost(claims: readonly Claim[]): DesktopNotice {
  const words = claims.map(({ label, value, remedy }) =>
    remedy === undefined ? `${label}: ${value}.` : `${label}: ${value}. ${remedy.replace(/\.$/, '')}.`,
  )
  return { title: 'Trust in this device has fallen', body: words.join('\n'), isCritical: true }
}
