import { CodedError } from '#core/errors/coded-error.ts'

export type OverlayFileErrorCode =
  /** Another process has the overlay open. */
  | 'OVERLAY_IN_USE'
  /** It was made under another key. */
  | 'OVERLAY_WRONG_KEY'
  /** It was made over another base, or one of another size. */
  | 'OVERLAY_OTHER_BASE'
  /** What describes the overlay is not what was written. */
  | 'OVERLAY_FILES_DAMAGED'
  /** The system lost data that it had taken; only what was flushed before can be relied on. */
  | 'OVERLAY_NOT_DURABLE'
  /** It is behind a link, where removing it removes the link alone. */
  | 'OVERLAY_ELSEWHERE'
  /** The program `flock` is missing. */
  | 'OVERLAY_NO_LOCK'

/** What is wrong with an overlay that is kept in files. */
export class OverlayFileError extends CodedError<OverlayFileErrorCode> {}

/** @param cause what the system answered when it should have made durable what it had taken */
export function notDurable(cause: unknown): OverlayFileError {
  return new OverlayFileError('OVERLAY_NOT_DURABLE', 'the system could not make durable what it had taken', {
    remedy:
      'Check the disk that keeps the overlay, and whether it is full; open it again: what was flushed before is whole.',
    cause,
  })
}

/**
 * Waits until what was written is durable. A system that fails here, be it only for want of room, may have dropped what
 * it had taken, and says so once: asked again it answers that all is well.
 *
 * @throws {OverlayFileError} OVERLAY_NOT_DURABLE
 */
export async function requireDurable(sync: Promise<void>): Promise<void> {
  await sync.catch((error: unknown) => {
    throw notDurable(error)
  })
}

/** @param detail what was expected and what came */
export function filesDamaged(detail: string, cause?: unknown): OverlayFileError {
  return new OverlayFileError('OVERLAY_FILES_DAMAGED', detail, {
    remedy: 'Put back the files of the overlay from a copy, or remove its folder and begin anew.',
    cause,
  })
}
