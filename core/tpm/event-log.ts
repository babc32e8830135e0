import { createHash } from 'node:crypto'
import { TPM_ALG } from './algorithms.ts'
import { maxEventLogBytes } from './attestation.ts'
import type { PcrValues } from './quote.ts'
import { TpmError } from './tpm-error.ts'

/** One thing that the firmware, a boot loader or the kernel measured before it went on to it. */
export interface MeasuredEvent {
  readonly pcr: number
  /** TCG_EVENTTYPE. INVARIANT: nothing vouches for it, nor for `data`, unless `isDataMeasured`. */
  readonly type: number
  /** SHA-256: what the PCR was extended with. */
  readonly digest: Buffer
  readonly data: Buffer
  /** The digest is that of `data`. */
  readonly isDataMeasured: boolean
}

export interface EventLog {
  readonly events: readonly MeasuredEvent[]
  /** Of the CPU command that began PCR 0, else 0. */
  readonly startupLocality: number
}

/** Types of events: TCG PC Client Platform Firmware Profile, section 10.4.1. */
export const EV: {
  readonly NO_ACTION: 0x3
  readonly SEPARATOR: 0x4
  readonly IPL: 0xd
  readonly EVENT_TAG: 0x6
  readonly EFI_VARIABLE_DRIVER_CONFIG: 0x80000001
  readonly EFI_BOOT_SERVICES_APPLICATION: 0x80000003
} = {
  NO_ACTION: 0x3,
  SEPARATOR: 0x4,
  IPL: 0xd,
  EVENT_TAG: 0x6,
  EFI_VARIABLE_DRIVER_CONFIG: 0x80000001,
  EFI_BOOT_SERVICES_APPLICATION: 0x80000003,
}

const maxEvents = 10_000
const maxAlgorithms = 16
/** PCRs 17 to 22 begin otherwise and are none of the firmware's. */
const lastPcr = 16
const specId = 'Spec ID Event03\0'
const startupLocality = 'StartupLocality\0'

/**
 * Decodes the firmware's event log in its crypto-agile form, as Linux shows it in `binary_bios_measurements`.
 *
 * Spec: TCG PC Client Platform Firmware Profile, section 10: a TCG_PCClientPCREvent with TCG_EfiSpecIdEvent, then
 * TCG_PCR_EVENT2*: pcr u32 | type u32 | count u32, (algorithm u16 | digest)* | size u32 | event; little-endian
 *
 * @param bytes untrusted; only `verifyEventLog` says that it is of a machine
 * @throws {TpmError} TPM_LOG_MALFORMED
 */
export function decodeEventLog(bytes: Uint8Array): EventLog {
  if (bytes.length > maxEventLogBytes)
    throw bad(`expected at most ${maxEventLogBytes} bytes, got ${bytes.length}`)
  const cursor = new Cursor(bytes)
  const digestSizes = readSpecId(cursor)
  const events: MeasuredEvent[] = []
  let locality = 0
  while (!cursor.isAtEnd) {
    const event = readEvent(cursor, digestSizes)
    if (event === 'end') break
    if (event.type !== EV.NO_ACTION) events.push(event)
    else if (startsWith(event.data, startupLocality)) locality = event.data[startupLocality.length] ?? 0
    if (events.length > maxEvents) throw bad(`expected at most ${maxEvents} events`)
  }
  return { events, startupLocality: locality }
}

/** Values that PCRs have after these events. Spec: PFP, section 3.3.3; TPM 2.0 Library part 1, section 17.4. */
export function replay({ events, startupLocality: locality }: EventLog): PcrValues {
  const values = new Map<number, Buffer>()
  for (const { pcr, digest } of events) {
    const before = values.get(pcr) ?? initialValue(pcr, locality)
    values.set(pcr, createHash('sha256').update(before).update(digest).digest())
  }
  return values
}

/**
 * Says that a log is what a quote's PCRs came from: each quoted PCR holds what its events make of it.
 *
 * @throws {TpmError} TPM_LOG_MISMATCH
 */
export function requireMatch(log: EventLog, quoted: PcrValues): void {
  const replayed = replay(log)
  const wrong = [...quoted]
    .filter(
      ([pcr, value]) =>
        Buffer.compare(replayed.get(pcr) ?? initialValue(pcr, log.startupLocality), value) !== 0,
    )
    .map(([pcr]) => pcr)
  if (wrong.length === 0) return
  throw new TpmError(
    'TPM_LOG_MISMATCH',
    `the event log does not lead to what the TPM holds in PCR ${wrong.join(', ')}`,
  )
}

/** Spec: PFP, section 10.4.5.1: vendors, sizes of digests by algorithm, then what the vendor says. */
function readSpecId(cursor: Cursor): ReadonlyMap<number, number> {
  const [, type] = [cursor.u32(), cursor.u32()]
  cursor.bytes(20)
  const event = new Cursor(cursor.bytes(cursor.u32()))
  if (type !== EV.NO_ACTION || !startsWith(event.bytes(specId.length), specId))
    throw bad('expected a crypto-agile log, which begins with "Spec ID Event03"')
  event.bytes(8)
  const count = event.u32()
  if (count > maxAlgorithms) throw bad(`expected at most ${maxAlgorithms} algorithms, got ${count}`)
  const sizes = new Map(Array.from({ length: count }, () => [event.u16(), event.u16()] as const))
  if (sizes.get(TPM_ALG.SHA256) !== 32) throw bad('expected SHA-256 among the algorithms')
  return sizes
}

function readEvent(cursor: Cursor, digestSizes: ReadonlyMap<number, number>): MeasuredEvent | 'end' {
  const [pcr, type, count] = [cursor.u32(), cursor.u32(), cursor.u32()]
  // Firmware hands out a buffer that it has filled in part.
  if (pcr === 0 && type === 0 && count === 0) return 'end'
  if (type !== EV.NO_ACTION && pcr > lastPcr) throw bad(`expected a PCR up to ${lastPcr}, got ${pcr}`)
  if (count > maxAlgorithms) throw bad(`expected at most ${maxAlgorithms} digests, got ${count}`)
  let digest: Buffer | undefined
  for (let index = 0; index < count; index++) {
    const algorithm = cursor.u16()
    const size = digestSizes.get(algorithm)
    if (size === undefined) throw bad(`the log has no algorithm 0x${algorithm.toString(16)}`)
    const value = cursor.bytes(size)
    if (algorithm === TPM_ALG.SHA256) digest = value
  }
  if (digest === undefined) throw bad('expected a SHA-256 digest in each event')
  const data = cursor.bytes(cursor.u32())
  const isDataMeasured = createHash('sha256').update(data).digest().equals(digest)
  return { pcr, type, digest, data, isDataMeasured }
}

/** The startup's locality is in the last byte of PCR 0: TPM 2.0 Library part 3, section 9.3. */
function initialValue(pcr: number, locality: number): Buffer {
  const value = Buffer.alloc(32, pcr > lastPcr && pcr < 23 ? 0xff : 0)
  if (pcr === 0) value[31] = locality
  return value
}

function startsWith(bytes: Buffer, text: string): boolean {
  return bytes.subarray(0, text.length).equals(Buffer.from(text))
}

/** Reads little-endian values from untrusted bytes. */
class Cursor {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length
  }

  u16(): number {
    return this.bytes(2).readUInt16LE()
  }

  u32(): number {
    return this.bytes(4).readUInt32LE()
  }

  bytes(length: number): Buffer {
    if (length > this.#bytes.length - this.#at)
      throw bad(`expected ${length} bytes at ${this.#at}, got ${this.#bytes.length - this.#at}`)
    this.#at += length
    return this.#bytes.subarray(this.#at - length, this.#at)
  }
}

function bad(why: string): TpmError {
  return new TpmError('TPM_LOG_MALFORMED', `the event log cannot be read: ${why}`)
}
