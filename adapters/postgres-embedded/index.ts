export { type EmbeddedPostgres, type Log, type PostgresOptions, startPostgres } from './postgres.ts'
export { PostgresError, type PostgresErrorCode } from './postgres-error.ts'
