import { createHmac } from 'node:crypto'
import { constantTimeEqual, encodeUtf8, Reader, Writer } from '#core/bytes/index.ts'
import { filesDamaged, OverlayFileError } from './overlay-file-error.ts'
import { deriveKeys, type OverlayKeys } from './overlay-keys.ts'

/** Header and batches begin at multiples of it: no batch shares a sector with another. */
export const unitBytes = 512
export const entryBytes = 16
/** Most entries in one batch. */
export const batchEntries = 65_536

const headerMagic = 0x5443_4f56_4a52_4e4cn
const batchMagic = 0x5443_4254
const batchHeaderBytes = 4 + 4 + 8 + 32
/** Stands where the slot would be. */
const zeroSlot = 0xffff_ffff

export const longestBatchBytes: number = paddedBatchBytes(batchEntries)

export interface JournalHeader {
  /** 16 random bytes for an overlay. */
  readonly overlayId: Uint8Array
  /** 16 random bytes for each file: what was written to one journal counts in no other. */
  readonly generation: Uint8Array
  readonly blocks: number
}

/** magic u64 | version u32 | overlay id 16 | generation 16 | blocks u64 | key check 16 | base 32 | MAC 32, to 512 bytes */
export function encodeHeader(header: JournalHeader, base: string, keys: OverlayKeys): Uint8Array {
  const fields = new Writer(unitBytes)
    .u64(headerMagic)
    .u32(1)
    .bytes(header.overlayId)
    .bytes(header.generation)
    .u64(BigInt(header.blocks))
    .bytes(keys.check)
    .bytes(macOf(keys, 'base', encodeUtf8(base)))
    .finish()
  const bytes = new Uint8Array(unitBytes)
  bytes.set(fields)
  bytes.set(macOf(keys, 'header', fields), fields.length)
  return bytes
}

/**
 * @param bytes 512 bytes, untrusted
 * @throws {OverlayFileError} OVERLAY_FILES_DAMAGED, OVERLAY_WRONG_KEY, OVERLAY_OTHER_BASE
 */
export function decodeHeader(
  bytes: Uint8Array,
  { key, base, blocks }: { key: Uint8Array; base: string; blocks: number },
): { header: JournalHeader; keys: OverlayKeys } {
  const fields = new Reader(bytes)
  if (bytes.length !== unitBytes || fields.u64() !== headerMagic || fields.u32() !== 1) {
    throw filesDamaged('expected the journal of an overlay, version 1, got something else')
  }
  const overlayId = fields.bytes(16).slice()
  const generation = fields.bytes(16).slice()
  const statedBlocks = fields.u64()
  const keys = deriveKeys(key, overlayId)
  if (!constantTimeEqual(fields.bytes(16), keys.check)) {
    throw new OverlayFileError('OVERLAY_WRONG_KEY', 'the overlay was made under another key', {
      remedy: 'Give the key that it was made with, or begin a new overlay.',
    })
  }
  const statedBase = fields.bytes(32)
  const signed = bytes.subarray(0, fields.offset)
  if (!constantTimeEqual(fields.bytes(32), macOf(keys, 'header', signed))) {
    throw filesDamaged('the head of the journal is not what was written')
  }
  if (
    statedBlocks !== BigInt(blocks) ||
    !constantTimeEqual(statedBase, macOf(keys, 'base', encodeUtf8(base)))
  ) {
    throw new OverlayFileError('OVERLAY_OTHER_BASE', `the overlay was not made over ${base}`, {
      remedy: 'Use it with the image that it was made over, or begin a new overlay.',
    })
  }
  return { header: { overlayId, generation, blocks }, keys }
}

/**
 * What has changed, in order: data `block u32 | slot u32 | mark u64`, zeros `block u32 | 0xffffffff | count u64`.
 * Later entries win.
 */
export class EntryLog {
  #view = new DataView(new ArrayBuffer(64 * entryBytes))
  #count = 0

  get count(): number {
    return this.#count
  }

  get bytes(): Uint8Array {
    return new Uint8Array(this.#view.buffer, 0, this.#count * entryBytes)
  }

  data(block: number, slot: number, mark: bigint): void {
    this.#add(block, slot, mark)
  }

  zero(block: number, count: number): void {
    this.#add(block, zeroSlot, BigInt(count))
  }

  /** Adds all of another one. */
  append(other: EntryLog): void {
    readEntries(other.bytes, (block, slot, mark) => this.#add(block, slot ?? zeroSlot, mark))
  }

  #add(block: number, slot: number, rest: bigint): void {
    const at = this.#count * entryBytes
    if (at === this.#view.byteLength) {
      const larger = new Uint8Array(at * 2)
      larger.set(new Uint8Array(this.#view.buffer))
      this.#view = new DataView(larger.buffer)
    }
    this.#view.setUint32(at, block)
    this.#view.setUint32(at + 4, slot)
    this.#view.setBigUint64(at + 8, rest)
    this.#count++
  }
}

/** @param visit with the slot and its mark, or, for zeros, with undefined and how many blocks */
export function readEntries(
  entries: Uint8Array,
  visit: (block: number, slot: number | undefined, rest: bigint) => void,
): void {
  const view = new DataView(entries.buffer, entries.byteOffset, entries.byteLength)
  for (let at = 0; at < entries.length; at += entryBytes) {
    const slot = view.getUint32(at + 4)
    visit(view.getUint32(at), slot === zeroSlot ? undefined : slot, view.getBigUint64(at + 8))
  }
}

/** Where a batch belongs: in no other place is it one. */
export interface BatchPlace {
  readonly generation: Uint8Array
  /** Where it begins in the file. */
  readonly offset: number
  /** Counts batches from 0. */
  readonly sequence: bigint
}

/** How much of the file a batch of so many entries takes. */
export function paddedBatchBytes(entries: number): number {
  return Math.ceil((batchHeaderBytes + entries * entryBytes) / unitBytes) * unitBytes
}

/** magic u32 | count u32 | sequence u64 | MAC 32 | entries, to a multiple of 512 bytes */
export function encodeBatch(entries: Uint8Array, place: BatchPlace, keys: OverlayKeys): Uint8Array {
  const count = entries.length / entryBytes
  const bytes = new Uint8Array(paddedBatchBytes(count))
  bytes.set(new Writer(16).u32(batchMagic).u32(count).u64(place.sequence).finish())
  bytes.set(batchMac(entries, place, keys), 16)
  bytes.set(entries, batchHeaderBytes)
  return bytes
}

/**
 * @param bytes from where it should begin, untrusted; what comes behind it does not matter
 * @returns its entries; undefined when it is not whole, not ours, or not in its place
 */
export function decodeBatch(
  bytes: Uint8Array,
  place: Omit<BatchPlace, 'sequence'>,
  keys: OverlayKeys,
): { entries: Uint8Array; sequence: bigint } | undefined {
  if (bytes.length < batchHeaderBytes) return undefined
  const fields = new Reader(bytes)
  const magic = fields.u32()
  const count = fields.u32()
  const sequence = fields.u64()
  if (magic !== batchMagic || count === 0 || count > batchEntries) return undefined
  const mac = fields.bytes(32)
  if (fields.remaining < count * entryBytes) return undefined
  const entries = fields.bytes(count * entryBytes)
  return constantTimeEqual(mac, batchMac(entries, { ...place, sequence }, keys))
    ? { entries, sequence }
    : undefined
}

function batchMac(
  entries: Uint8Array,
  { generation, offset, sequence }: BatchPlace,
  keys: OverlayKeys,
): Uint8Array {
  const place = new Writer(32).bytes(generation).u64(BigInt(offset)).u64(sequence).finish()
  return macOf(keys, 'batch', place, entries)
}

function macOf(keys: OverlayKeys, use: string, ...parts: readonly Uint8Array[]): Uint8Array {
  const mac = createHmac('sha256', keys.mac).update(`${use}\0`)
  for (const part of parts) mac.update(part)
  return mac.digest()
}
