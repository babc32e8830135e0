import { CodedError } from '#core/errors/coded-error.ts'

export type DiskFileErrorCode =
  /** There is no such file, it may not be read, or it is no file. */
  | 'DISK_FILE_UNREADABLE'
  /** A program that reads the format is not installed. */
  | 'DISK_FILE_TOOL_MISSING'
  /** qemu-img could not read the disk. */
  | 'DISK_FILE_NOT_CONVERTED'

/** What is wrong with a file that holds a disk. */
export class DiskFileError extends CodedError<DiskFileErrorCode> {}
