import { CodedError } from '#core/errors/coded-error.ts'

export type DiskFileErrorCode =
  /** There is no such file, it may not be read, or it is no file. */
  | 'DISK_FILE_UNREADABLE'
  /** A program that reads the format is not installed. */
  | 'DISK_FILE_TOOL_MISSING'
  /** qemu-img could not read the disk. */
  | 'DISK_FILE_NOT_CONVERTED'
  /** What a qcow2 or VMDK file says of itself does not hold: it is cut off, or damaged. */
  | 'DISK_FILE_DAMAGED'
  /** It consists of, or lies over, a file that is not beside it. */
  | 'DISK_FILE_PART_MISSING'
  /** The folder for temporary files has no room for the disk while it is converted. */
  | 'DISK_FILE_NO_ROOM'

/** What is wrong with a file that holds a disk. */
export class DiskFileError extends CodedError<DiskFileErrorCode> {}
