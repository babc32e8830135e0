import {
  maximumPayloadBytes,
  NBD_CMD,
  NBD_CMD_FLAG,
  NBD_ERROR,
  NBD_FLAG,
  type NbdErrno,
} from '../constants.ts'
import { transmissionFlags } from '../nbd-export.ts'
import type { RequestHeader } from './request.ts'
import type { Session } from './session.ts'

/** An error for the client, with words for its log. */
export interface Refusal {
  readonly error: NbdErrno
  readonly message: string
}

/**
 * Looks whether a request is one that this session allows, before anything is done for it.
 *
 * Spec: proto.md "Command flags", "Request types", "Error values"
 *
 * @returns undefined when it is
 */
export function refusalOf(request: RequestHeader, session: Session): Refusal | undefined {
  const { type, flags, length } = request
  const sent = transmissionFlags(session.export, session.structured)
  const kind = kinds.get(type)
  if (!kind) return refusal('EINVAL', `command ${type} is not known here`)
  if ((flags & ~kind.flags(sent)) !== 0)
    return refusal('EINVAL', `flags ${flags} do not belong to command ${type}`)
  if (type === NBD_CMD.DISC) return undefined
  if (kind.writes && !session.export.device.write) return refusal('EPERM', 'the export is read-only')
  if (type === NBD_CMD.FLUSH) return flushRefusal(request, sent)
  if (type === NBD_CMD.BLOCK_STATUS && !session.allocation)
    return refusal('EINVAL', 'no metadata context was chosen')
  if (length === 0) return refusal('EINVAL', 'the length is 0')
  if (request.offset + BigInt(length) > session.export.device.sizeBytes)
    return refusal(kind.beyondEnd, 'the range goes beyond the end')
  if (type === NBD_CMD.READ && length > maximumPayloadBytes)
    return refusal(
      session.structured ? 'EOVERFLOW' : 'EINVAL',
      `expected at most ${maximumPayloadBytes} bytes`,
    )
  return undefined
}

interface Kind {
  readonly writes: boolean
  readonly beyondEnd: 'EINVAL' | 'ENOSPC'
  /** The command flags that are allowed where the given transmission flags were sent. */
  readonly flags: (sent: number) => number
}

/** Clients are known to send FUA with any command: where it is offered it is taken everywhere. */
function fua(sent: number): number {
  return (sent & NBD_FLAG.SEND_FUA) === 0 ? 0 : NBD_CMD_FLAG.FUA
}

const reading: Kind = { writes: false, beyondEnd: 'EINVAL', flags: fua }
const writing: Kind = { writes: true, beyondEnd: 'ENOSPC', flags: fua }
const zeroFlags = NBD_CMD_FLAG.NO_HOLE | NBD_CMD_FLAG.FAST_ZERO

const kinds: ReadonlyMap<number, Kind> = new Map<number, Kind>([
  [
    NBD_CMD.READ,
    { ...reading, flags: (sent) => fua(sent) | ((sent & NBD_FLAG.SEND_DF) === 0 ? 0 : NBD_CMD_FLAG.DF) },
  ],
  [NBD_CMD.WRITE, writing],
  [NBD_CMD.DISC, reading],
  [NBD_CMD.FLUSH, reading],
  [NBD_CMD.TRIM, { ...writing, beyondEnd: 'EINVAL' }],
  [NBD_CMD.CACHE, reading],
  [NBD_CMD.WRITE_ZEROES, { ...writing, flags: (sent) => fua(sent) | zeroFlags }],
  [NBD_CMD.BLOCK_STATUS, { ...reading, flags: (sent) => fua(sent) | NBD_CMD_FLAG.REQ_ONE }],
])

function flushRefusal({ offset, length }: RequestHeader, sent: number): Refusal | undefined {
  if ((sent & NBD_FLAG.SEND_FLUSH) === 0) return refusal('EINVAL', 'there is nothing to flush')
  return offset === 0n && length === 0
    ? undefined
    : refusal('EINVAL', 'a flush has neither offset nor length')
}

function refusal(error: keyof typeof NBD_ERROR, message: string): Refusal {
  return { error: NBD_ERROR[error], message }
}
