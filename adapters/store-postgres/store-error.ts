import { CodedError } from '#core/errors/coded-error.ts'

export type StoreErrorCode =
  | 'STORE_AWAY'
  | 'STORE_MIGRATION_FAILED'
  /** It answers, and does not let us in: another password, database or certificate than the configuration says. */
  | 'STORE_REFUSED'
  | 'STORE_URL_MALFORMED'
  | 'STORE_PLAINTEXT'
export class StoreError extends CodedError<StoreErrorCode> {}

/** Codes with which Node or PostgreSQL say "not reachable now": worth another try, nothing is wrong with the request. */
const awayCodes: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EAI_AGAIN',
  '57P01', // admin_shutdown
  '57P02', // crash_shutdown
  '57P03', // cannot_connect_now
  '53300', // too_many_connections
  '08000',
  '08003',
  '08006',
])
const awayMessages: readonly string[] = [
  'Connection terminated',
  'timeout exceeded when trying to connect',
  'timeout expired',
  'Query read timeout',
  'Client has encountered a connection error',
]

/** Codes that say so of a socket, and something else of a file. */
const awayConnectCodes: ReadonlySet<string> = new Set(['ENOENT', 'EACCES'])

/** True when the database is away rather than the request wrong. */
export function isAway(error: unknown): boolean {
  if (error instanceof StoreError) return error.code === 'STORE_AWAY'
  if (!(error instanceof Error)) return false
  const code = 'code' in error ? String(error.code) : ''
  const isConnecting = 'syscall' in error && error.syscall === 'connect'
  return (
    awayCodes.has(code) ||
    (isConnecting && awayConnectCodes.has(code)) ||
    awayMessages.some((start) => error.message.startsWith(start)) ||
    isAway(error.cause)
  )
}
