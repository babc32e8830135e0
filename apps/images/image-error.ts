import { CodedError } from '#core/errors/coded-error.ts'

export type ImagesErrorCode =
  /** This machine has no key of the image family. */
  | 'IMAGE_KEY_MISSING'
  /** The file that holds an image's key cannot be used. */
  | 'IMAGE_KEY_UNREADABLE'
  /** The file that holds an image's key cannot be locked. */
  | 'IMAGE_KEY_NO_LOCK'
  /** The image was neither signed nor made here, so nothing says that it is what somebody meant. */
  | 'IMAGE_NOT_TRUSTED'
  /** The store has an image of this name and version already. */
  | 'IMAGE_EXISTS'
  /** Another process imports an image of this name and version. */
  | 'IMAGE_IMPORT_RUNNING'
  /** The file was written to while it was imported. */
  | 'IMAGE_SOURCE_CHANGED'
  /** The file to be written is there already. */
  | 'IMAGE_FILE_EXISTS'

/** What is wrong with what this machine knows of images. */
export class ImagesError extends CodedError<ImagesErrorCode> {}
