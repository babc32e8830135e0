import { CodedError } from '#core/errors/coded-error.ts'

export type CliErrorCode =
  | 'USAGE'
  | 'CLI_NOT_SIGNED_IN'
  | 'CLI_SITE_UNKNOWN'
  | 'CLI_SITE_AWAY'
  | 'CLI_FILE_MISSING'
  | 'CLI_NEEDS_ROOT'
  | 'CLI_NO_ACCOUNT'
  | 'CLI_PORT_TAKEN'
  /** What awaits signatures is not what was asked for. */
  | 'CLI_OTHER_PROPOSAL'
  /** The person did not say yes. */
  | 'CLI_NOT_CONFIRMED'
  | 'CLI_SOCKET_UNUSABLE'
  | 'CLI_CHANNEL_CLOSED'
  | 'CLI_NOT_ENROLLED'
  | 'CLI_DISK_NOT_OFFERED'
export class CliError extends CodedError<CliErrorCode> {}

/** Wrong usage: the process ends with 2 and says how the command is used. */
export function usage(message: string): CliError {
  return new CliError('USAGE', message)
}
