import { crc32cOf } from './crc32c.ts'
import { Fields } from './fields.ts'
import type { Patch } from './patched-source.ts'

export const logSectorBytes = 4096
const headerBytes = 64
const descriptorBytes = 32

export interface LogEntryHeader {
  readonly entryBytes: number
  /** Where in the log the oldest entry is that had not reached its place when this one was written. */
  readonly tail: number
  readonly sequence: bigint
  readonly descriptors: number
  /** At least so long was the file when this entry was written. */
  readonly flushedFileBytes: bigint
  /** As long the file must be made. */
  readonly lastFileBytes: bigint
}

/**
 * Reads the header of a log entry. Most of a log is not entries: what is none is no error.
 *
 * Spec: [MS-VHDX] 2.3.1.1: "loge" | CRC u32 | entry length u32 | tail u32 | sequence u64 | descriptors u32 |
 * reserved u32 | log guid | flushed file offset u64 | last file offset u64
 *
 * @param bytes at least 64, untrusted
 */
export function decodeLogEntryHeader(
  bytes: Uint8Array,
  logGuid: string,
  logBytes: number,
): LogEntryHeader | undefined {
  const fields = new Fields(bytes)
  const [entryBytes, tail, sequence, descriptors] = [
    fields.u32(8),
    fields.u32(12),
    fields.u64(16),
    fields.u32(24),
  ]
  if (fields.latin(0, 4) !== 'loge' || fields.guid(32) !== logGuid || sequence === 0n) return undefined
  if (entryBytes === 0 || entryBytes % logSectorBytes !== 0 || entryBytes > logBytes) return undefined
  if (tail % logSectorBytes !== 0 || tail >= logBytes) return undefined
  if (headerBytes + descriptors * descriptorBytes > entryBytes) return undefined
  return {
    entryBytes,
    tail,
    sequence,
    descriptors,
    flushedFileBytes: fields.u64(48),
    lastFileBytes: fields.u64(56),
  }
}

/**
 * Reads what an entry writes, if it is whole.
 *
 * Spec: [MS-VHDX] 2.3.1.2 to 2.3.1.4: descriptors, padded to sectors: "zero" | reserved u32 | length u64 |
 * file offset u64 | sequence u64, or "desc" | trailing 4 | leading 8 | file offset u64 | sequence u64; then for each
 * "desc" a sector: "data" | sequence high u32 | 4084 bytes | sequence low u32
 *
 * @param entry all its bytes, untrusted
 */
export function decodeLogEntry(entry: Uint8Array, header: LogEntryHeader): Patch[] | undefined {
  const fields = new Fields(entry)
  if (fields.u32(4) !== crc32cOf(entry, 4)) return undefined
  const descriptorSectors = Math.ceil((headerBytes + header.descriptors * descriptorBytes) / logSectorBytes)
  const patches: Patch[] = []
  let dataAt = descriptorSectors * logSectorBytes
  for (let index = 0; index < header.descriptors; index++) {
    const at = headerBytes + index * descriptorBytes
    const kind = fields.latin(at, 4)
    if (fields.u64(at + 24) !== header.sequence) return undefined
    const patch = kind === 'zero' ? zeroPatch(fields, at) : dataPatch(fields, at, dataAt, header.sequence)
    if (patch === undefined) return undefined
    if (kind !== 'zero') dataAt += logSectorBytes
    patches.push(patch)
  }
  return dataAt === entry.length ? patches : undefined
}

function zeroPatch(fields: Fields, at: number): Patch | undefined {
  return placed(fields.u64(at + 16), fields.u64(at + 8), undefined)
}

function dataPatch(fields: Fields, at: number, dataAt: number, sequence: bigint): Patch | undefined {
  if (fields.latin(at, 4) !== 'desc' || dataAt + logSectorBytes > fields.bytes.length) return undefined
  const end = dataAt + logSectorBytes
  const stated = (BigInt(fields.u32(dataAt + 4)) << 32n) | BigInt(fields.u32(end - 4))
  if (fields.latin(dataAt, 4) !== 'data' || stated !== sequence) return undefined
  // The sequence numbers take the place of the first 8 and the last 4 bytes, which are in the descriptor.
  const bytes = fields.bytes.slice(dataAt, end)
  bytes.set(fields.bytes.subarray(at + 8, at + 16), 0)
  bytes.set(fields.bytes.subarray(at + 4, at + 8), logSectorBytes - 4)
  return placed(fields.u64(at + 16), BigInt(logSectorBytes), bytes)
}

function placed(start: bigint, length: bigint, bytes: Uint8Array | undefined): Patch | undefined {
  const sector = BigInt(logSectorBytes)
  if (start % sector !== 0n || length % sector !== 0n || start + length > BigInt(Number.MAX_SAFE_INTEGER)) {
    return undefined
  }
  return { start: Number(start), end: Number(start + length), bytes }
}
