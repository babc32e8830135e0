import { CodedError } from '#core/errors/coded-error.ts'

export type OverlayErrorCode =
  /** There is no room for what was to be written; nothing was. What was written before is whole. */
  | 'OVERLAY_FULL'
  /** A block that was kept is not what was written: nothing of it is shown. */
  | 'OVERLAY_CORRUPT'
  /** The disk, or the store of an overlay, is larger than block numbers reach. */
  | 'OVERLAY_TOO_LARGE'
  /** What was to be captured could not be kept aside from those who write: nothing was captured. */
  | 'OVERLAY_CAPTURE_ABANDONED'

/** What is wrong with the writable layer of a disk. */
export class OverlayError extends CodedError<OverlayErrorCode> {
  protected static override readonly remedies: Readonly<Partial<Record<OverlayErrorCode, string>>> = {
    OVERLAY_TOO_LARGE: 'Use the disk read-only, or a smaller one.',
    OVERLAY_CAPTURE_ABANDONED: 'Make room where overlays are kept: the next capture begins anew.',
  }
}

/** @param detail where there is no room, and how much there is */
export function overlayFull(detail: string, cause?: unknown): OverlayError {
  return new OverlayError('OVERLAY_FULL', `expected room for what is written, got none: ${detail}`, {
    remedy: 'Make room where the overlay is kept, or give it a higher limit, and write again.',
    cause,
  })
}
