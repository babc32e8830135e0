import type { SessionView } from '#core/api/person.ts'

const takenCodes: ReadonlySet<string> = new Set([
  'TRUST_LOST',
  'LEASE_EXPIRED',
  'SESSION_CLOSED_BY_ADMIN',
  'SESSION_LEASE_WITHDRAWN',
  'SESSION_ENDPOINT_AWAY',
  'SESSION_PERSON_DELETED',
  'SESSION_WORKSPACE_DELETED',
])

/** Whether what a session held on an endpoint was taken back, other than by its person. */
export function wasTaken({ endpoint, end }: SessionView): boolean {
  return endpoint !== undefined && end !== undefined && takenCodes.has(end.code)
}
