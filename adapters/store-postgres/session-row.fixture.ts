import { randomUUID } from 'node:crypto'
import type { NewSession } from './schema.ts'

/** A session that begins now, for an hour, as far as it does not matter to a test. */
export function sessionRow(personId: string, workspaceId: string) {
  const obligations = {
    clipboardMaxBytes: 0,
    watermark: false,
    sessionMinutes: 60,
    idleMinutes: 60,
    disconnectMinutes: 60,
    leaseMinutes: 15,
    overlay: 'discard',
  }
  const now = new Date()
  return {
    id: randomUUID() as string,
    person_id: personId,
    workspace_id: workspaceId,
    account: 'tc-p',
    width: 1280,
    height: 720,
    state: 'starting',
    rights: [],
    restrictions: '[]',
    obligations: JSON.stringify(obligations),
    evidence: '[]',
    decision_id: randomUUID(),
    started_at: now,
    ends_at: new Date(now.getTime() + 3_600_000),
  } satisfies Partial<NewSession>
}
