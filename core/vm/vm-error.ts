import { CodedError } from '#core/errors/coded-error.ts'

export type VmErrorCode =
  /** What the monitor said is no message of its protocol. */
  | 'VM_BAD_MONITOR'
  /** The VM refused what was asked of it. */
  | 'VM_REFUSED'
  /** The VM has ended, or its monitor does not answer. */
  | 'VM_GONE'
  /** QEMU did not come up. */
  | 'VM_NOT_STARTED'
  /** A program or firmware file that is not installed. */
  | 'VM_PROGRAM_MISSING'
  /** Only root can give a VM the network that its release asks for. */
  | 'VM_NEEDS_ROOT'

/** Why a virtual machine does not do what was asked. */
export class VmError extends CodedError<VmErrorCode> {}
