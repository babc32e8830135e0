import { countFallen, lastAlarm, openAlarms } from '#adapters/store-postgres/index.ts'
import { evidenceSilenceMs } from '#core/evidence/index.ts'
import type { Site } from '../site.ts'
import { raise, settle } from './alarms.ts'

/**
 * When the claims of many endpoints fall at once, something else than the endpoints is likely at fault: a broken update, a collector that
 * died. Then running work is decided by what its endpoint said before it fell, and admins are called. New launches follow the policy, and
 * what is not evidence, such as a revocation, takes effect as ever; interception, too. Endpoints that fall silent after a goodbye are not
 * counted: people go home.
 */

const key = 'brake'
/** How long a node goes by what it saw: many decisions may be made at once. */
const memoryMs = 250

const judged = new WeakMap<Site, { at: number; isOn: Promise<boolean> }>()

/** @returns whether running work is held as it is */
export async function isBraking(site: Site): Promise<boolean> {
  const known = judged.get(site)
  if (known !== undefined && Math.abs(site.now() - known.at) < memoryMs) return known.isOn
  // Re-decisions ask: to let go here would wait for them.
  const isOn = brakeIfDue(site).then(({ isOn }) => isOn)
  judged.set(site, { at: site.now(), isOn })
  isOn.catch(() => judged.delete(site))
  return isOn
}

/** Counts, and brakes or lets go. */
export async function judgeBrake(site: Site): Promise<void> {
  const { isOn, isStanding } = await brakeIfDue(site)
  if (!isOn && isStanding) await settle(site, key)
}

/** Counts, and brakes. @returns whether the brake is to be on, and whether it was */
async function brakeIfDue(site: Site): Promise<{ readonly isOn: boolean; readonly isStanding: boolean }> {
  const { db } = site.store
  const { endpoints, percent, minutes } = site.config.brake
  const windowMs = minutes * 60_000
  const now = site.now()
  const [alarms, before] = await Promise.all([openAlarms(db), lastAlarm(db, key)])
  const standing = alarms.find((alarm) => alarm.key === key)
  // While it stands whoever fell with it counts until they are back, or are silent and nothing runs from there; what an admin has let go does
  // not count again.
  const letGo = before?.ended_by == null ? 0 : (before.ended_at?.getTime() ?? 0)
  const { fallen, reporting } = await countFallen(db, {
    fell: new Date(Math.max((standing?.raised_at.getTime() ?? now) - windowMs, letGo)),
    recent: new Date(now - windowMs),
    heard: new Date(now - windowMs - evidenceSilenceMs),
  })
  const isOn = fallen >= endpoints && fallen * 100 > reporting * percent
  if (isOn && standing === undefined)
    await raise(site, {
      key,
      kind: 'brake',
      message: `${fallen} of ${reporting} devices fell in trust within ${minutes} minutes. Running work goes on as before; new launches follow the policy`,
      remedy:
        'Find out what they have in common. Lift this when the falls are real: running work then follows the policy at once.',
    })
  return { isOn, isStanding: standing !== undefined }
}
