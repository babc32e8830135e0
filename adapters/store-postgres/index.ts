export * from './agents.ts'
export * from './alarms.ts'
export * from './alone.ts'
export * from './audit.ts'
export * from './data.ts'
export * from './decisions.ts'
export * from './deletion.ts'
export * from './device-keys.ts'
export * from './discards.ts'
export * from './endpoints.ts'
export * from './evidence.ts'
export * from './handoffs.ts'
export * from './leases.ts'
export { migrate } from './migrate.ts'
export type { Page } from './paging.ts'
export * from './people.ts'
export * from './releases.ts'
export * from './replicas.ts'
export type { ReplicaRow } from './replicas-table.ts'
export type {
  AgentReport,
  AgentRow,
  AlarmRow,
  BootRecord,
  ChannelRow,
  Database,
  DecisionCause,
  DecisionRow,
  EndpointEvidenceRow,
  EndpointStatementRow,
  EnrolmentRequestRow,
  HandoffRow,
  ImageKeyRow,
  ImageRow,
  LeaseRow,
  NewEvidence,
  NewLease,
  NewSession,
  PersonRow,
  ProposalRow,
  ReleaseRow,
  SessionEnd,
  SessionRow,
  SessionState,
  TokenKind,
  WebSessionRow,
} from './schema.ts'
export * from './sessions.ts'
export * from './settings.ts'
export { type Db, databaseTime, type Hint, openStore, type Store, type StoreAddress } from './store.ts'
export { isAway, type StoreErrorCode } from './store-error.ts'
export * from './throttle.ts'
export * from './tickets.ts'
export {
  agentsNamed,
  catchUpIndex,
  entriesAbout,
  type IndexedEntry,
  namesOf,
  peopleNamed,
  type TimelinePage,
} from './timeline.ts'
export * from './web-sessions.ts'
