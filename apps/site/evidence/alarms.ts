import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import {
  type AlarmRow,
  acknowledgeAlarm,
  endAlarm,
  openAlarms,
  raiseAlarm,
} from '#adapters/store-postgres/index.ts'
import type { AlarmView } from '#core/api/evidence.ts'
import type { AuditActor } from '#core/audit/leaf.ts'
import { decideAgain } from '../launches/decide-again.ts'
import type { Site } from '../site.ts'
import { notFound } from '../site-error.ts'

/** What admins have to look at: it stands until it is over or an admin lifts it. */

const systemActor: AuditActor = { type: 'system', id: 'trust' }

export interface Alarm {
  /** One of each stands at most. */
  readonly key: string
  readonly kind: AlarmView['kind']
  readonly message: string
  readonly remedy: string
}

/** Stands in the key of an alarm that is about one node: none settles what another has raised. */
export function nodeName({ config }: Site): string {
  return `${hostname()}:${config.agents.port}`
}

/** Raises an alarm unless it stands already. */
export async function raise(site: Site, alarm: Alarm): Promise<void> {
  const standing = (await openAlarms(site.store.db)).some(({ key }) => key === alarm.key)
  if (standing) return
  await site.audit.record('alarm-raised', systemActor, undefined, { ...alarm })
  const row = { id: randomUUID(), ...alarm, raised_at: new Date(site.now()) }
  if (!(await raiseAlarm(site.store.db, row))) return
  site.metrics.count('alarms', { kind: alarm.kind })
  site.log.error({ alarm: alarm.key }, alarm.message)
  await site.hints.tell({ topic: 'alarms' })
}

/** Ends the alarm of this key, if it stands. */
export async function settle(site: Site, key: string): Promise<void> {
  const alarm = (await openAlarms(site.store.db)).find((one) => one.key === key)
  if (alarm !== undefined) await end(site, alarm, undefined, systemActor)
}

async function end(site: Site, alarm: AlarmRow, by: string | undefined, actor: AuditActor): Promise<void> {
  await site.audit.record('alarm-ended', actor, undefined, { key: alarm.key, by: by ?? null })
  if ((await endAlarm(site.store.db, alarm.id, by, new Date(site.now()))) === undefined) return
  await site.hints.tell({ topic: 'alarms' })
  // What was held back is decided now.
  if (alarm.kind === 'brake') await decideAgain(site, 'evidence')
}

/** @throws {SiteError} NOT_FOUND */
export async function acknowledge(site: Site, id: string, by: string, actor: AuditActor): Promise<void> {
  await site.audit.record('admin-change', actor, undefined, { alarm: id, acknowledged: true })
  if ((await acknowledgeAlarm(site.store.db, id, by, new Date(site.now()))) === undefined)
    throw notFound('alarm')
  await site.hints.tell({ topic: 'alarms' })
}

/**
 * Ends an alarm at an admin's word. Of a brake: the falls are real, and running work follows the policy at once.
 *
 * @throws {SiteError} NOT_FOUND
 */
export async function lift(site: Site, id: string, by: string, actor: AuditActor): Promise<void> {
  const alarm = (await openAlarms(site.store.db)).find((one) => one.id === id)
  if (alarm === undefined) throw notFound('alarm')
  await end(site, alarm, by, actor)
}

export async function listAlarms(site: Site): Promise<readonly AlarmView[]> {
  const rows = await openAlarms(site.store.db)
  return rows.map(({ id, kind, message, remedy, raised_at, acknowledged_at, acknowledged_by }) => ({
    id,
    kind,
    message,
    remedy,
    raisedAt: raised_at.toISOString(),
    ...(acknowledged_at === null
      ? {}
      : { acknowledged: { at: acknowledged_at.toISOString(), by: acknowledged_by ?? '' } }),
  }))
}
