import { CodedError } from '#core/errors/coded-error.ts'

export type KeyFileErrorCode =
  /** There is a file of this name already. */
  | 'KEY_FILE_EXISTS'
  /** The file cannot be made there. */
  | 'KEY_FILE_UNWRITABLE'
  /** There is no such file. */
  | 'KEY_FILE_MISSING'
  /** Others could read the file. */
  | 'KEY_FILE_EXPOSED'
  /** The file is not one of a key, or was changed. */
  | 'KEY_FILE_DAMAGED'
  /** The passphrase does not open it. */
  | 'KEY_FILE_WRONG_PASSPHRASE'

/** What is wrong with a file that holds a release key. */
export class KeyFileError extends CodedError<KeyFileErrorCode> {
  protected static override readonly remedies: Readonly<Partial<Record<KeyFileErrorCode, string>>> = {
    KEY_FILE_WRONG_PASSPHRASE:
      'Try again. Without its passphrase a key is lost: let another take its place (trustcast image root).',
  }
}
