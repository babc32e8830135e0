import { CodedError } from '#core/errors/coded-error.ts'

export type CliErrorCode =
  | 'USAGE'
  | 'CLI_NOT_SIGNED_IN'
  | 'CLI_SITE_UNKNOWN'
  | 'CLI_FILE_MISSING'
  /** A file or folder that was named is another thing, or closed to this account. */
  | 'CLI_FILE_UNUSABLE'
  | 'CLI_DISK_FULL'
  | 'CLI_NO_CERTIFICATE'
  | 'CLI_NEEDS_ROOT'
  | 'CLI_NO_ACCOUNT'
  | 'CLI_PORT_TAKEN'
  /** What awaits signatures is not what was asked for. */
  | 'CLI_OTHER_PROPOSAL'
  /** The person did not say yes. */
  | 'CLI_NOT_CONFIRMED'
  | 'CLI_NO_SUCH_PERSON'
  | 'CLI_SOCKET_UNUSABLE'
  | 'CLI_CHANNEL_CLOSED'
  | 'CLI_NOT_ENROLLED'
  /** No service of an endpoint answers on this machine. */
  | 'CLI_NO_SERVICE'
  /** The address is of another site than the one that this machine is enrolled at. */
  | 'CLI_OTHER_SITE'
  | 'CLI_DISK_NOT_OFFERED'
  /** What is delivered now does not go on in the VM that waits. */
  | 'CLI_NOT_A_VM'
  /** What a folder holds is not the beginning of the log that would take its place. */
  | 'CLI_OTHER_LOG'
export class CliError extends CodedError<CliErrorCode> {
  protected static override readonly remedies: Readonly<Partial<Record<CliErrorCode, string>>> = {
    CLI_FILE_MISSING: 'Check its name, and that this account may read it.',
    CLI_FILE_UNUSABLE: 'Check its name, and that this account may use it.',
    CLI_DISK_FULL: 'Make room on that disk, then say it again.',
    CLI_NO_CERTIFICATE: 'Name a file in PEM: it has a line that says BEGIN CERTIFICATE.',
    CLI_PORT_TAKEN: 'End the program that uses it, or choose another address and port.',
  }
}

/** Wrong usage: the process ends with 2 and says how the command is used. */
export function usage(message: string): CliError {
  return new CliError('USAGE', message)
}
