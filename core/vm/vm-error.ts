import { CodedError } from '#core/errors/coded-error.ts'

export type VmErrorCode =
  /** What the monitor said is no message of its protocol. */
  | 'VM_BAD_MONITOR'
  /** The VM refused what was asked of it. */
  | 'VM_REFUSED'
  /** The VM has ended, or its monitor speaks to nobody any more. */
  | 'VM_GONE'
  /** It has not done what was asked yet: it waits for its disk, and does it then. */
  | 'VM_SILENT'
  /** QEMU did not come up. */
  | 'VM_NOT_STARTED'
  /** A program or firmware file that is not installed. */
  | 'VM_PROGRAM_MISSING'
  /** Only root can give a VM the network that its release asks for. */
  | 'VM_NEEDS_ROOT'

/** Why a virtual machine does not do what was asked. */
export class VmError extends CodedError<VmErrorCode> {
  protected static override readonly remedies: Readonly<Partial<Record<VmErrorCode, string>>> = {
    VM_SILENT:
      'Try again when the store of its image can be reached and this device has room, or stop it with --force, as if its power failed.',
  }
}
