import { CodedError } from '#core/errors/coded-error.ts'

export type MountErrorCode =
  /** Nothing on the device is known to be a file system. */
  | 'MOUNT_NO_FILESYSTEM'
  /** The kernel of this machine has no driver for the file system. */
  | 'MOUNT_FILESYSTEM_UNSUPPORTED'
  /** A tool or the kernel refused; the message has its words. */
  | 'MOUNT_FAILED'
  /** A program that mounting needs is not installed. */
  | 'MOUNT_TOOL_MISSING'
  /** Only root may mount. */
  | 'MOUNT_NEEDS_ROOT'
  /** The directory holds files, or something is mounted there. */
  | 'MOUNT_DIR_BUSY'
  /** Programs use what is mounted. */
  | 'MOUNT_BUSY'
  /** The folder for the state is that of another mount. */
  | 'MOUNT_STATE_TAKEN'

export class MountError extends CodedError<MountErrorCode> {
  protected static override readonly remedies: Readonly<Partial<Record<MountErrorCode, string>>> = {
    MOUNT_FAILED: 'Put right what it says, and try again.',
  }
}
