import { CodedError } from '#core/errors/coded-error.ts'

export type PostgresErrorCode =
  | 'POSTGRES_ENGINE_MISSING'
  | 'POSTGRES_ACCOUNT_FAILED'
  | 'POSTGRES_SOCKET_PATH_TOO_LONG'
  | 'POSTGRES_STATE_UNREACHABLE'
  | 'POSTGRES_IN_USE'
  | 'POSTGRES_OTHER_VERSION'
  | 'POSTGRES_INIT_FAILED'
  | 'POSTGRES_START_FAILED'

/** Why the embedded database cannot be started. */
export class PostgresError extends CodedError<PostgresErrorCode> {}
