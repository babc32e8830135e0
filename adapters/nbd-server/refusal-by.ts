import { isCoded } from '#core/errors/coded-error.ts'
import { NBD_ERROR, type NbdErrno, type Refusal } from '#core/nbd/index.ts'

/** What the errors of core's devices mean to a client, where that is not EIO. */
export const deviceErrors: Readonly<Record<string, NbdErrno>> = {
  BLOCK_OUT_OF_RANGE: NBD_ERROR.EINVAL,
  BLOCK_CLOSED: NBD_ERROR.ESHUTDOWN,
  OVERLAY_FULL: NBD_ERROR.ENOSPC,
  IMAGE_FOOTER_READ_ONLY: NBD_ERROR.EPERM,
}

/**
 * Tells clients of coded errors, with their code and message; of what is not coded only that it happened.
 *
 * @param errors what the codes mean; all others mean EIO
 */
export function refusalBy(errors: Readonly<Record<string, NbdErrno>>): (error: unknown) => Refusal {
  return (error) =>
    isCoded(error)
      ? { error: errors[error.code] ?? NBD_ERROR.EIO, message: `${error.code}: ${error.message}` }
      : { error: NBD_ERROR.EIO, message: 'internal error' }
}
