import { CodedError } from '#core/errors/coded-error.ts'

export type ImageErrorCode =
  /** It is none of the formats that were asked for. */
  | 'IMAGE_UNKNOWN_FORMAT'
  /** The file ends before what its structures need. */
  | 'IMAGE_TRUNCATED'
  /** A structure is not what its checksum says. */
  | 'IMAGE_BAD_CHECKSUM'
  /** A field has a value that the specification rules out. */
  | 'IMAGE_BAD_STRUCTURE'
  /** A version, or a part marked as required, that this reader does not know. */
  | 'IMAGE_UNSUPPORTED_VERSION'
  /** A block size outside what the format allows. */
  | 'IMAGE_BLOCK_SIZE'
  /** The disk, a table or a log is larger than the format or this reader allows. */
  | 'IMAGE_TOO_LARGE'
  /** The allocation table names a place that is not in the file. */
  | 'IMAGE_BLOCK_OUTSIDE'
  /** Two blocks, or a block and a structure, share bytes of the file. */
  | 'IMAGE_BLOCK_OVERLAP'
  /** A differencing disk whose parent was not found. */
  | 'IMAGE_PARENT_MISSING'
  /** The parent that was found is not the one that the child was made from, or has changed since. */
  | 'IMAGE_PARENT_MISMATCH'
  /** A disk is its own ancestor. */
  | 'IMAGE_CHAIN_CYCLIC'
  /** More disks in a chain than allowed. */
  | 'IMAGE_CHAIN_TOO_LONG'
  /** The log must be replayed but holds no whole sequence of entries. */
  | 'IMAGE_LOG_CORRUPT'
  /** The format to be written cannot have a disk of this size. */
  | 'IMAGE_SIZE_UNALIGNED'
  /** What describes the image, behind the disk's own bytes, is not to be written. */
  | 'IMAGE_FOOTER_READ_ONLY'

/** What is wrong with a disk image. */
export class ImageError extends CodedError<ImageErrorCode> {
  protected static override readonly remedies: Readonly<Record<ImageErrorCode, string>> = {
    IMAGE_UNKNOWN_FORMAT: 'Name the format that it really has, or a file that is a disk image.',
    IMAGE_TRUNCATED: 'Copy the file again: it is cut off, or damaged.',
    IMAGE_BAD_CHECKSUM: 'Copy the file again: it is damaged.',
    IMAGE_BAD_STRUCTURE:
      'Copy the file again, or have it written anew by what made it: it is damaged, or made to mislead.',
    IMAGE_UNSUPPORTED_VERSION: 'Convert it to a plain VHD, VHDX or raw image with the program that made it.',
    IMAGE_BLOCK_SIZE:
      'Convert it to an image with blocks of the usual size; if it has them, copy the file again: it is damaged.',
    IMAGE_TOO_LARGE:
      'Copy the file again: it is damaged; if the disk is so large indeed, convert it to a raw image.',
    IMAGE_BLOCK_OUTSIDE: 'Copy the file again: it is cut off, or damaged.',
    IMAGE_BLOCK_OVERLAP:
      'Copy the file again, or have it written anew by what made it: it is damaged, or made to mislead.',
    IMAGE_PARENT_MISSING: 'Put the parent disk beside its child, or name its folder.',
    IMAGE_PARENT_MISMATCH: 'Find the disk that the child was made from.',
    IMAGE_CHAIN_CYCLIC:
      'Find the disk that the oldest of them was made from: one of these was put in its place.',
    IMAGE_CHAIN_TOO_LONG: 'Merge the oldest differencing disks into their parent.',
    IMAGE_LOG_CORRUPT: 'Copy the file again when the disk is not in use.',
    IMAGE_SIZE_UNALIGNED: 'Export it as a raw image, or make the disk a multiple of 512 bytes.',
    IMAGE_FOOTER_READ_ONLY: 'Write inside the disk, or copy the disk without its footer.',
  }
}
