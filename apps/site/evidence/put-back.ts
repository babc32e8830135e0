import { lastAlarm } from '#adapters/store-postgres/index.ts'
import type { Ratchet } from '#core/evidence/index.ts'
import type { Site } from '../site.ts'
import { raise } from './alarms.ts'

const key = 'put-back'
/** What a node that was killed had accepted and not written yet. */
const mostUnwritten = 3
/** Devices come back for weeks, each with the same to tell. */
const toldForMs = 30 * 86_400_000

/** An endpoint that brings this site's own word from after all that its books hold shows that they were put back: admins are called, and the log tells of it. */
export async function notePutBack(
  site: Site,
  known: Ratchet | undefined,
  { basis }: Pick<Ratchet, 'basis'>,
): Promise<void> {
  if (known === undefined || basis <= known.sequence + mostUnwritten) return
  const before = await lastAlarm(site.store.db, key)
  if (before !== undefined && site.now() - before.raised_at.getTime() < toldForMs) return
  await raise(site, {
    key,
    kind: 'verifier',
    message:
      'A device was told by this site what the database does not hold: it was put back to an earlier state, or has lost what was written last',
    remedy:
      'See what the site has forgotten, and do it again: docs/disks.md, "What the site has forgotten". Revocations first. Then lift this.',
  })
}
