import { appendAudit, type Db } from '#adapters/store-postgres/index.ts'
import { createAppender } from '#core/audit/batcher.ts'
import { type AuditActor, type AuditData, type AuditKind, encodeEntry } from '#core/audit/leaf.ts'
import type { NoteSigner } from '#core/audit/note.ts'

export interface AuditLog {
  /**
   * Resolves when the entry is durable in the log; what it tells of may take effect only then.
   * INVARIANT I7: every caller awaits this before it acts.
   *
   * @returns the entry's index
   */
  record(kind: AuditKind, actor: AuditActor, subject: string | undefined, data: AuditData): Promise<bigint>
}

const maxBatch = 500

export function openAuditLog(db: Db, signer: NoteSigner, now: () => number): AuditLog {
  const appender = createAppender({ commit: (batch) => appendAudit(db, signer, batch), maxBatch })
  return {
    record: (kind, actor, subject, data) => {
      const entry = { at: new Date(now()).toISOString(), kind, actor, data }
      return appender.append(encodeEntry(subject === undefined ? entry : { ...entry, subject }))
    },
  }
}
