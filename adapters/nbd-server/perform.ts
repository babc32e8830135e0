import type { BlockDevice } from '#core/block/block-device.ts'
import {
  appendExtents,
  type Descriptor,
  NBD_CMD,
  NBD_CMD_FLAG,
  NBD_ERROR,
  type Refusal,
  type ReplyEncoder,
  type Request,
  type Session,
} from '#core/nbd/index.ts'

/** Devices are made for requests up to 32 MiB. */
const longestRequestBytes = 33_554_432
/** How much is read at once only to be cached, or written at once only to be zero. */
const stepBytes = 1_048_576
/** The most descriptors that a reply may have, as objects and as bytes. */
const statusBytes = 262_144
/** Shorter reads are sent whole, which costs less than looking for holes. */
const sparseBytes = 65_536

/** What the two ends of a transmission share. */
export interface Performing {
  readonly session: Session
  readonly encoder: ReplyEncoder
  readonly signal: AbortSignal
}

/**
 * Carries out a request that was not refused, any command but NBD_CMD_DISC.
 *
 * @returns the reply, in parts to be sent one after the other
 * @throws whatever the device does; then no part of a reply was made
 */
export function perform(request: Request, performing: Performing): Promise<readonly Uint8Array[]> {
  const { session } = performing
  switch (request.type) {
    case NBD_CMD.READ: {
      const mayHaveHoles = session.structured && (request.flags & NBD_CMD_FLAG.DF) === 0
      return mayHaveHoles && request.length >= sparseBytes
        ? readSparse(request, performing)
        : readWhole(request, performing)
    }
    case NBD_CMD.BLOCK_STATUS:
      return blockStatus(request, performing)
    default:
      return withoutData(request, performing)
  }
}

/** The reply to a read whose bytes are in memory; undefined for every other request. */
export function performNow(
  { type, cookie, offset, length }: Request,
  performing: Performing,
): readonly Uint8Array[] | undefined {
  if (type !== NBD_CMD.READ) return undefined
  const data = performing.session.export.device.readNow?.(Number(offset), length)
  return data && [readHeader(cookie, offset, length, performing), data]
}

/** How much memory a request takes at the most until it is answered, beside what every request does. */
export function bytesHeld({ type, flags, length }: Request): number {
  switch (type) {
    case NBD_CMD.READ:
    case NBD_CMD.WRITE:
      return length
    case NBD_CMD.CACHE:
      return Math.min(length, stepBytes)
    case NBD_CMD.WRITE_ZEROES:
      return (flags & NBD_CMD_FLAG.NO_HOLE) === 0 ? 0 : Math.min(length, stepBytes)
    case NBD_CMD.BLOCK_STATUS:
      return statusBytes
    default:
      return 0
  }
}

/** The reply to a request that failed. */
export function refuse(request: Request, refusal: Refusal, { session, encoder }: Performing): Uint8Array {
  return session.structured
    ? encoder.error(request.cookie, refusal)
    : encoder.simple(request.cookie, refusal.error)
}

/** The data is there before the header is made: a simple reply could not take success back. */
async function readWhole(
  { cookie, offset, length }: Request,
  performing: Performing,
): Promise<readonly Uint8Array[]> {
  const data = await performing.session.export.device.read(offset, length, performing.signal)
  return [readHeader(cookie, offset, length, performing), data]
}

/** What comes before the data of a read that is answered whole. */
function readHeader(
  cookie: bigint,
  offset: bigint,
  length: number,
  { session, encoder }: Performing,
): Uint8Array {
  return session.structured ? encoder.offsetData(cookie, offset, length, true) : encoder.simple(cookie, 0)
}

async function readSparse(request: Request, performing: Performing): Promise<readonly Uint8Array[]> {
  const { session, encoder, signal } = performing
  const { device } = session.export
  const extents = await device.extents(request.offset, request.length, signal)
  if (extents.every(({ kind }) => kind === 'data')) return readWhole(request, performing)
  let offset = request.offset
  const parts = extents.map(async ({ kind, length }, index) => {
    const at = offset
    offset += BigInt(length)
    const done = index === extents.length - 1
    if (kind !== 'data') return [encoder.offsetHole(request.cookie, at, length, done)]
    const data = await device.read(at, length, signal)
    return [encoder.offsetData(request.cookie, at, length, done), data]
  })
  return (await Promise.all(parts)).flat()
}

async function blockStatus(
  { cookie, offset, length, flags }: Request,
  { session, encoder, signal }: Performing,
): Promise<readonly Uint8Array[]> {
  const one = (flags & NBD_CMD_FLAG.REQ_ONE) !== 0
  const descriptors: Descriptor[] = []
  for (const range of split(offset, length, longestRequestBytes)) {
    const extents = await session.export.device.extents(range.offset, range.length, signal)
    if (!appendExtents(descriptors, extents) || (one && descriptors.length > 1)) break
  }
  return [encoder.blockStatus(cookie, one ? descriptors.slice(0, 1) : descriptors)]
}

async function withoutData(request: Request, performing: Performing): Promise<[Uint8Array]> {
  const { session, encoder, signal } = performing
  const { device } = session.export
  if (isSlowZero(request)) {
    const refusal = { error: NBD_ERROR.ENOTSUP, message: 'zeros that leave no hole are as slow as a write' }
    return [refuse(request, refusal, performing)]
  }
  await change(request, device, signal)
  const durable = request.type === NBD_CMD.FLUSH || (request.flags & NBD_CMD_FLAG.FUA) !== 0
  if (durable) await device.flush?.(signal)
  return [session.structured ? encoder.none(request.cookie) : encoder.simple(request.cookie, 0)]
}

/** Zeros that must be provisioned are written as data, which a client who asked for speed would do better itself. */
function isSlowZero({ type, flags }: Request): boolean {
  const slow = NBD_CMD_FLAG.NO_HOLE | NBD_CMD_FLAG.FAST_ZERO
  return type === NBD_CMD.WRITE_ZEROES && (flags & slow) === slow
}

async function change(request: Request, device: BlockDevice, signal: AbortSignal): Promise<void> {
  const { type, offset, length, flags, payload } = request
  switch (type) {
    case NBD_CMD.WRITE:
      if (payload) await device.write?.(offset, payload, signal)
      return
    case NBD_CMD.TRIM:
      for (const range of split(offset, length, longestRequestBytes))
        await device.trim?.(range.offset, range.length, signal)
      return
    case NBD_CMD.WRITE_ZEROES:
      if ((flags & NBD_CMD_FLAG.NO_HOLE) === 0) {
        for (const range of split(offset, length, longestRequestBytes))
          await device.writeZeroes?.(range.offset, range.length, signal)
      } else {
        const zeros = new Uint8Array(Math.min(length, stepBytes))
        for (const range of split(offset, length, stepBytes))
          await device.write?.(range.offset, zeros.subarray(0, range.length), signal)
      }
      return
    case NBD_CMD.CACHE:
      for (const range of split(offset, length, stepBytes)) {
        const bytes = await device.read(range.offset, range.length, signal)
        device.done?.(bytes)
      }
  }
}

/** The parts of a range that end at multiples of `step`, or with the range. */
function* split(
  offset: bigint,
  length: number,
  step: number,
): Generator<{ offset: bigint; length: number }, void, undefined> {
  let done = 0
  while (done < length) {
    const at = offset + BigInt(done)
    const part = Math.min(length - done, step - Number(at % BigInt(step)))
    yield { offset: at, length: part }
    done += part
  }
}
