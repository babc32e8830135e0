import type { BlobDigest } from '#core/blobs/blob-store.ts'
import { Reader, Writer } from '#core/bytes/index.ts'
import { fanOut, levelsOf, maximumLevels, pageBytes } from '#core/merkle/index.ts'
import { ArtifactError } from './errors.ts'
import type { ImageManifest } from './manifest.ts'

/**
 * The index of an image: where its chunks lie, with the Merkle tree that says what they are. Big-endian.
 *
 *     header      magic "TCINDEX1" | sizeBytes u64 | chunkBytes u32 | packs u32 | records u32 | 0 …      64 bytes
 *     packs       SHA-256, 32 bytes | sizeBytes u64                                                      40 bytes each
 *     0 …         up to a multiple of 4096
 *     records     page of the tree, 4096 bytes | places, 2048 bytes                                      6144 bytes each
 *
 * Records come level by level from the root, so that a reader finds its way with one number a record: the places of
 * an inner page begin with the number of the record of its first used entry, u32, and the others follow it. The
 * places of a page of leaves are one entry a chunk: pack u32 | offset u32 | length u32 | 0 u32.
 *
 * INVARIANT: pages are verified against the signed root. Places are not signed, since chunks may move to other packs:
 * a wrong one finds bytes of another digest, or none.
 */

export const headerBytes = 64
export const placesBytes = 2048
export const recordBytes: number = pageBytes + placesBytes
export const maximumPacks = 65_536
/** So many can be written: an OCI manifest of 4 MiB takes 150 bytes for each. */
export const mostPacks = 27_900
/** 2 TiB in chunks of 256 KiB has 66,000 pages. */
export const maximumRecords = 4_194_304

const magic = 'TCINDEX1'
const packEntryBytes = 40
const placeBytes = fanOut / 8

export interface IndexHeader {
  readonly sizeBytes: number
  readonly chunkBytes: number
  readonly packs: number
  readonly records: number
}

export interface PackEntry {
  readonly digest: BlobDigest
  readonly sizeBytes: number
}

/** Where a stored chunk lies. */
export interface Place {
  /** Number in the table of packs. */
  readonly pack: number
  readonly offset: number
  readonly length: number
}

/** Where the records begin. */
export function recordsAt({ packs }: Pick<IndexHeader, 'packs'>): number {
  return Math.ceil((headerBytes + packs * packEntryBytes) / pageBytes) * pageBytes
}

export function encodeHeader(header: IndexHeader, packs: readonly PackEntry[]): Uint8Array {
  const writer = new Writer(recordsAt(header))
    .utf8(magic)
    .u64(BigInt(header.sizeBytes))
    .u32(header.chunkBytes)
    .u32(header.packs)
    .u32(header.records)
    .bytes(new Uint8Array(headerBytes - 28))
  for (const { digest, sizeBytes } of packs) {
    writer.bytes(Buffer.from(digest.slice('sha256:'.length), 'hex')).u64(BigInt(sizeBytes))
  }
  return writer.bytes(new Uint8Array(recordsAt(header) - writer.length)).finish()
}

/**
 * @param bytes the first 64, untrusted
 * @throws {ArtifactError} ARTIFACT_BAD_INDEX
 */
export function decodeHeader(bytes: Uint8Array, manifest: ImageManifest): IndexHeader {
  if (bytes.length < headerBytes || Buffer.from(bytes.subarray(0, 8)).toString('latin1') !== magic) {
    throw badIndex('it does not begin as one')
  }
  const reader = new Reader(bytes.subarray(8, headerBytes))
  const header = {
    sizeBytes: Number(reader.u64()),
    chunkBytes: reader.u32(),
    packs: reader.u32(),
    records: reader.u32(),
  }
  if (header.sizeBytes !== manifest.sizeBytes || header.chunkBytes !== manifest.chunkBytes) {
    throw badIndex('it is for a disk of another size')
  }
  if (header.packs > maximumPacks || header.records > maximumRecords || header.records === 0) {
    throw badIndex(`it names ${header.packs} packs and ${header.records} pages`)
  }
  if (levelsOf(chunksOf(manifest)) > maximumLevels) throw badIndex('the disk has too many chunks')
  return header
}

/** @param bytes the table, untrusted, of the length that the header says */
export function decodePacks(bytes: Uint8Array, { packs }: IndexHeader): readonly PackEntry[] {
  const reader = new Reader(bytes)
  return Array.from({ length: packs }, () => ({
    digest: `sha256:${Buffer.from(reader.bytes(32)).toString('hex')}` as const,
    sizeBytes: Number(reader.u64()),
  }))
}

export function packTableBytes({ packs }: IndexHeader): number {
  return packs * packEntryBytes
}

/** Chunks of the disk, the last of which may be short. */
export function chunksOf({ sizeBytes, chunkBytes }: Pick<ImageManifest, 'sizeBytes' | 'chunkBytes'>): number {
  return Math.ceil(sizeBytes / chunkBytes)
}

/** Bytes of the chunk at `index`. */
export function chunkLength(
  { sizeBytes, chunkBytes }: Pick<ImageManifest, 'sizeBytes' | 'chunkBytes'>,
  index: number,
): number {
  return Math.min(chunkBytes, sizeBytes - index * chunkBytes)
}

export function encodePlaces(places: readonly (Place | undefined)[]): Uint8Array {
  const bytes = new Uint8Array(placesBytes)
  const view = new DataView(bytes.buffer)
  for (const [slot, place] of places.entries()) {
    if (place === undefined) continue
    view.setUint32(slot * placeBytes, place.pack)
    view.setUint32(slot * placeBytes + 4, place.offset)
    view.setUint32(slot * placeBytes + 8, place.length)
  }
  return bytes
}

export function encodeFirstChild(record: number): Uint8Array {
  const bytes = new Uint8Array(placesBytes)
  new DataView(bytes.buffer).setUint32(0, record)
  return bytes
}

/** @param record 6144 bytes, whose places are untrusted */
export function placeAt(record: Uint8Array, slot: number): Place {
  const at = record.byteOffset + pageBytes + slot * placeBytes
  const view = new DataView(record.buffer, at, placeBytes)
  return { pack: view.getUint32(0), offset: view.getUint32(4), length: view.getUint32(8) }
}

export function firstChildOf(record: Uint8Array): number {
  return new DataView(record.buffer, record.byteOffset + pageBytes, 4).getUint32(0)
}

export function badIndex(why: string): ArtifactError {
  return new ArtifactError('ARTIFACT_BAD_INDEX', `the index of the image cannot be used: ${why}`)
}
