import { CodedError } from '#core/errors/coded-error.ts'

export type SandboxErrorCode =
  /** What was asked for is no sandbox that can be made. */
  | 'SANDBOX_BAD_REQUEST'
  /** Only root can show the disk to the person alone. */
  | 'SANDBOX_NEEDS_ROOT'
  /** A program that sandboxes need is not installed. */
  | 'SANDBOX_TOOL_MISSING'
  /** The sandbox could not be made, or the command could not be started in it; the message has the reason. */
  | 'SANDBOX_FAILED'

export class SandboxError extends CodedError<SandboxErrorCode> {}
