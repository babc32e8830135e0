import { CodedError } from '#core/errors/coded-error.ts'

export type FileSystemErrorCode =
  /** It is none of those that can be read here, or uses something that this reader does not know. */
  | 'FILES_UNREADABLE'
  /** What it says of itself cannot be. */
  | 'FILES_CORRUPT'
  /** More files than this reader takes. */
  | 'FILES_TOO_MANY'

/** Why the files of a disk cannot be listed. */
export class FileSystemError extends CodedError<FileSystemErrorCode> {
  protected static override readonly remedies: Readonly<Record<FileSystemErrorCode, string>> = {
    FILES_UNREADABLE: 'Compare what the two versions hold by other means, such as mounting both.',
    FILES_CORRUPT: 'Check it with fsck before the disk is imported.',
    FILES_TOO_MANY: 'Compare what the two versions hold by other means, such as mounting both.',
  }
}

export function corrupt(what: string): FileSystemError {
  return new FileSystemError('FILES_CORRUPT', `this file system is damaged: ${what}`)
}

export function unreadable(why: string): FileSystemError {
  return new FileSystemError('FILES_UNREADABLE', `the files of this disk cannot be listed: ${why}`)
}
