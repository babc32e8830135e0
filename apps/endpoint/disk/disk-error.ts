import { CodedError } from '#core/errors/coded-error.ts'

export type DiskErrorCode =
  /** No attached disk has this id, name or mount point. */
  | 'DISK_UNKNOWN'
  /** A name that several attached disks have. */
  | 'DISK_NAME_AMBIGUOUS'
  /** There is no place where attached disks are registered. */
  | 'DISK_NO_RUN_DIR'
  /** The process that serves a disk runs but does not answer. */
  | 'DISK_NOT_ANSWERING'
  /** Several file systems could be meant. */
  | 'MOUNT_AMBIGUOUS'
  | 'MOUNT_NO_PARTITION'
  /** None of the partitions holds a file system that Linux mounts. */
  | 'MOUNT_NO_FILESYSTEM'

export class DiskError extends CodedError<DiskErrorCode> {
  protected static override readonly remedies: Readonly<Partial<Record<DiskErrorCode, string>>> = {
    DISK_NOT_ANSWERING:
      'Try again; if it stays so, end that process: `trustcast disk list` takes down what it leaves mounted.',
  }
}
