import { TraceError } from './boot-trace-error.ts'

/** What a boot reads of its disk, in order: what a later boot of the same image will want soon. */
export interface BootTrace {
  /** In order of time; no two overlap. At most `maximumTraceRanges`. */
  readonly ranges: readonly TraceRange[]
}

export interface TraceRange {
  /** Bytes from the start of the disk. */
  readonly offset: number
  /** Bytes; 1 to `maximumRangeBytes`. */
  readonly length: number
  /** Milliseconds since the recording began; at most a day. */
  readonly atMs: number
}

/** In chunks of 256 KiB at least 4 GiB. */
export const maximumTraceRanges = 16_384
/** No encoded trace is larger. */
export const maximumTraceBytes = 1_048_576
export const maximumRangeBytes = 33_554_432
export const maximumTraceMs = 86_400_000

/**
 * A trace as JSON, the same bytes for the same trace:
 *
 * ```
 * {"version":1,"ranges":[[offset,length,atMs],…]}
 * ```
 *
 * @throws {TraceError} TRACE_MALFORMED, TRACE_TOO_LARGE
 */
export function encodeTrace(trace: BootTrace): Uint8Array {
  requireRanges(trace.ranges)
  const ranges = trace.ranges.map(({ offset, length, atMs }) => [offset, length, atMs])
  return Buffer.from(JSON.stringify({ version: 1, ranges }))
}

/**
 * The trace that `encodeTrace` made these bytes from. Whether it fits a disk is for `fitTrace` to say.
 *
 * @param bytes untrusted, or signed: nothing but what is encoded as above is accepted
 * @throws {TraceError} TRACE_MALFORMED, TRACE_TOO_LARGE
 */
export function decodeTrace(bytes: Uint8Array): BootTrace {
  if (bytes.length > maximumTraceBytes) {
    throw tooLarge(`expected at most ${maximumTraceBytes} bytes, got ${bytes.length}`)
  }
  const { version, ranges } = objectIn(bytes)
  if (version !== 1) throw malformed(`expected version 1, got ${JSON.stringify(version)}`)
  if (!Array.isArray(ranges)) throw malformed('expected a list of ranges')
  const trace: BootTrace = { ranges: ranges.map(rangeIn) }
  if (Buffer.compare(encodeTrace(trace), bytes) !== 0) {
    throw malformed('expected what this trace encodes to, got another spelling of it')
  }
  return trace
}

/**
 * The trace, when all that it reads lies on a disk of this size.
 *
 * @throws {TraceError} TRACE_BEYOND_DISK
 */
export function fitTrace(trace: BootTrace, sizeBytes: number | bigint): BootTrace {
  const beyond = trace.ranges.find(({ offset, length }) => offset + length > sizeBytes)
  if (beyond === undefined) return trace
  throw new TraceError(
    'TRACE_BEYOND_DISK',
    `expected ranges within ${sizeBytes} bytes, got ${beyond.length} bytes at ${beyond.offset}`,
    { remedy: 'Record a trace on this image, or use none.' },
  )
}

function requireRanges(ranges: readonly TraceRange[]): void {
  if (ranges.length > maximumTraceRanges) {
    throw tooLarge(`expected at most ${maximumTraceRanges} ranges, got ${ranges.length}`)
  }
  let before = 0
  for (const { offset, length, atMs } of ranges) {
    if (!isWithin(length, 1, maximumRangeBytes) || !isWithin(offset, 0, Number.MAX_SAFE_INTEGER - length)) {
      throw malformed(`expected a range of 1 to ${maximumRangeBytes} bytes, got ${length} at ${offset}`)
    }
    if (!isWithin(atMs, before, maximumTraceMs)) {
      throw malformed(`expected whole milliseconds from ${before} to ${maximumTraceMs}, got ${atMs}`)
    }
    before = atMs
  }
  let end = 0
  for (const { offset, length } of ranges.toSorted((a, b) => a.offset - b.offset)) {
    if (offset < end) throw malformed(`expected each byte once, got ${offset} again`)
    end = offset + length
  }
}

/** -0 would be encoded as 0. */
function isWithin(value: number, least: number, most: number): boolean {
  return Number.isSafeInteger(value) && !Object.is(value, -0) && value >= least && value <= most
}

function objectIn(bytes: Uint8Array): { readonly version?: unknown; readonly ranges?: unknown } {
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString())
  } catch (cause) {
    throw malformed('expected JSON', cause)
  }
  if (typeof value !== 'object' || value === null) throw malformed('expected an object')
  return value
}

function rangeIn(value: unknown): TraceRange {
  const [offset, length, atMs] = Array.isArray(value) ? (value as unknown[]) : []
  if (typeof offset !== 'number' || typeof length !== 'number' || typeof atMs !== 'number') {
    throw malformed('expected a range to be three numbers')
  }
  return { offset, length, atMs }
}

function malformed(message: string, cause?: unknown): TraceError {
  return new TraceError('TRACE_MALFORMED', message, { cause, remedy: 'Record the trace again.' })
}

function tooLarge(message: string): TraceError {
  return new TraceError('TRACE_TOO_LARGE', message, { remedy: 'Record a shorter part of the boot.' })
}
