import { AuditError } from './errors.ts'
import { type AuditData, type AuditEntry, decodeEntry } from './leaf.ts'

/** Whom and what an entry of the log is about, so that it is found again by that. */
export interface EntrySubjects {
  /** Ids as they are; workspaces, whose ids are words, as `workspace:ID`. */
  readonly subjects: readonly string[]
  /** The session that it belongs to: it is about that one's person, workspace and machine, too. */
  readonly session?: string
  /** It begins that session: what it is about is what the later ones are about. */
  readonly begins: boolean
}

/** @param id of the workspace */
export function workspaceSubject(id: string): string {
  return `workspace:${id}`
}

/**
 * Reads from an entry what it is about: its actor, its subject, and the ids in its data.
 *
 * @param entry as the log has it; what is no entry that this version knows is about nothing
 */
export function subjectsOf(entry: Uint8Array): EntrySubjects {
  try {
    return subjectsOfEntry(decodeEntry(entry))
  } catch (error) {
    if (error instanceof AuditError) return { subjects: [], begins: false }
    throw error
  }
}

const uuid = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/
const slug = /^[a-z][a-z0-9-]{0,39}$/
/** Fields of an entry's data that hold an id. */
const idFields = ['person', 'owner', 'endpoint', 'formerly', 'host', 'session', 'lease', 'decision'] as const

function subjectsOfEntry({ kind, actor, subject = '', data }: AuditEntry): EntrySubjects {
  const fields = isFields(data) ? data : {}
  const isAboutSession = kind.startsWith('session-') || kind.startsWith('ticket-')
  const session = [isAboutSession ? subject : '', fields['session']].find(isUuid)
  const isWorkspace = kind === 'admin-change' && fields['change'] === 'workspace'
  const workspaces = [fields['workspace'], isWorkspace ? subject : ''].filter(isSlug).map(workspaceSubject)
  const ids = [actor.id, subject, ...idFields.map((name) => fields[name])].filter(isUuid)
  return {
    subjects: [...new Set([...ids, ...workspaces])],
    ...(session === undefined ? {} : { session }),
    begins: kind === 'session-started',
  }
}

function isFields(data: AuditData): data is Readonly<Record<string, AuditData>> {
  return typeof data === 'object' && data !== null && !Array.isArray(data)
}

function isUuid(value: AuditData | undefined): value is string {
  return typeof value === 'string' && uuid.test(value)
}

function isSlug(value: AuditData | undefined): value is string {
  return typeof value === 'string' && slug.test(value)
}
