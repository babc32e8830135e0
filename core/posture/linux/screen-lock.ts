import type { Observation } from '#core/evidence/observation.ts'
import { observe, unknown } from '../observe.ts'
import { linesOf } from '../read-text.ts'

/** GNOME's settings about the lock, of one person. */
export interface GnomeLock {
  readonly isLocking: boolean
  /** Forbidden by an admin or by the person. */
  readonly isForbidden: boolean
  /** Seconds without input until the screen goes dark; 0: never. */
  readonly idleSec: number
  /** Seconds from then to the lock. */
  readonly delaySec: number
}

/** What one person's desktop does when they leave. */
export interface DesktopLock {
  /** Undefined: another desktop. */
  readonly gnome: GnomeLock | undefined
  /** Programs of the person that lock the screen of themselves: `xss-lock`. */
  readonly lockers: readonly string[]
}

/** Programs that lock an idle screen, outside GNOME. */
export const knownLockers: readonly string[] = [
  'xss-lock',
  'xautolock',
  'swayidle',
  'hypridle',
  'light-locker',
  'xscreensaver',
  'mate-screensaver',
  'xfce4-screensaver',
  'cinnamon-screensaver',
]

const claim = 'endpoint.screenLock'
const collector = 'screen-lock'

/** @param desktops one for each person who sits here; the worst counts */
export function judgeScreenLock(desktops: readonly DesktopLock[], lockAfterSec: number): Observation {
  const seen = desktops.map((desktop) => judgeDesktop(desktop, lockAfterSec))
  return (
    seen.find(({ value }) => value === 'off') ??
    seen.find(({ value }) => value === 'unknown') ??
    seen[0] ??
    unknown(claim, collector, 'nobody has a desktop here')
  )
}

function judgeDesktop({ gnome, lockers }: DesktopLock, lockAfterSec: number): Observation {
  // GNOME locks by itself: what else is called like a locker there changes nothing.
  if (gnome === undefined) {
    const [locker] = lockers
    return locker === undefined
      ? unknown(claim, collector, 'this desktop does not say whether it locks its screen')
      : observe(claim, 'on', collector, `${locker} locks the screen`)
  }
  const { isLocking, isForbidden, idleSec, delaySec } = gnome
  if (isForbidden || !isLocking) return observe(claim, 'off', collector, 'the screen is not locked')
  if (idleSec === 0) return observe(claim, 'off', collector, 'the screen never goes dark of itself')
  const total = idleSec + delaySec
  return total > lockAfterSec
    ? observe(claim, 'off', collector, `the screen is locked after ${total} s only, ${lockAfterSec} at most`)
    : observe(claim, 'on', collector, `the screen is locked after ${total} s`)
}

/** The settings that `gnomeLockOf` needs, as `gsettings get SCHEMA KEY`. */
export const gnomeSettings = {
  isLocking: ['org.gnome.desktop.screensaver', 'lock-enabled'],
  delaySec: ['org.gnome.desktop.screensaver', 'lock-delay'],
  idleSec: ['org.gnome.desktop.session', 'idle-delay'],
  isForbidden: ['org.gnome.desktop.lockdown', 'disable-lock-screen'],
} as const

/** @param values GVariant texts: `true`, `uint32 300` */
export function gnomeLockOf(
  values: Readonly<Record<keyof typeof gnomeSettings, string>>,
): GnomeLock | undefined {
  const isLocking = booleanIn(values.isLocking)
  const isForbidden = booleanIn(values.isForbidden)
  const idleSec = secondsIn(values.idleSec)
  const delaySec = secondsIn(values.delaySec)
  return isLocking === undefined ||
    isForbidden === undefined ||
    idleSec === undefined ||
    delaySec === undefined
    ? undefined
    : { isLocking, isForbidden, idleSec, delaySec }
}

function booleanIn(text: string): boolean | undefined {
  const [line = ''] = linesOf(text)
  return line.trim() === 'true' ? true : line.trim() === 'false' ? false : undefined
}

function secondsIn(text: string): number | undefined {
  const [, digits] = /^\s*(?:uint32 )?(\d{1,10})\s*$/.exec(text) ?? []
  return digits === undefined ? undefined : Number(digits)
}
