export * from './agents.ts'
export * from './audit.ts'
export * from './decisions.ts'
export * from './endpoints.ts'
export * from './leases.ts'
export { migrate } from './migrate.ts'
export * from './people.ts'
export * from './releases.ts'
export type {
  AgentReport,
  AgentRow,
  ChannelRow,
  Database,
  DecisionCause,
  DecisionRow,
  ImageKeyRow,
  ImageRow,
  LeaseRow,
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
export { type Db, type Hint, openStore, type Store, type StoreAddress } from './store.ts'
export { isAway, StoreError, type StoreErrorCode } from './store-error.ts'
export * from './throttle.ts'
export * from './tickets.ts'
export * from './web-sessions.ts'
