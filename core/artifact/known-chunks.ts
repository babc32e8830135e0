import {
  type BlobDigest,
  BlobError,
  type BlobErrorCode,
  type BlobReader,
  type Descriptor,
  decodeOciManifest,
  digestOf,
  mediaTypes,
} from '#core/blobs/index.ts'
import type { BytesErrorCode } from '#core/bytes/index.ts'
import { type CodedError, isCoded } from '#core/errors/coded-error.ts'
import { entryOf, fanOut } from '#core/merkle/index.ts'
import type { StoredChunk } from './build-index.ts'
import type { ArtifactErrorCode } from './errors.ts'
import type { KnownChunks } from './import-image.ts'
import {
  decodeHeader,
  decodePacks,
  headerBytes,
  packTableBytes,
  placeAt,
  recordBytes,
  recordsAt,
} from './index-format.ts'
import { decodeManifest, maximumManifestBytes } from './manifest.ts'

/** What is known is kept in memory: 64 MiB is the index of a disk of 340 GiB that is full. */
const largestIndexBytes = 67_108_864

/** A version whose chunks are not used again. */
export interface PassedOver {
  readonly version: string
  readonly why: string
}

/**
 * The chunks that a store has from the versions of an image family. Versions that are damaged, or too large to be
 * remembered, are passed over.
 *
 * Of chunks nothing is believed: one is used again only for the same digest, and one that is not where the store says
 * it is makes an image that cannot be read there, not one that reads as something else.
 *
 * @param keyId versions under another key share nothing
 * @throws {BlobError} BLOB_UNAVAILABLE, BLOB_DENIED
 */
export async function readKnownChunks(
  store: BlobReader,
  family: { readonly name: string; readonly keyId: string },
  signal: AbortSignal,
): Promise<KnownChunks & { readonly passedOver: readonly PassedOver[] }> {
  const passedOver: PassedOver[] = []
  const chunks = new Map<string, StoredChunk>()
  const packSizes = new Map<BlobDigest, number>()
  for (const reference of await store.references(signal, family.name)) {
    if (reference.name !== family.name) continue
    try {
      const bytes = await store.manifest(reference, signal)
      if (bytes !== undefined) await addVersion(store, bytes, family.keyId, { chunks, packSizes }, signal)
    } catch (error) {
      if (!isDamage(error)) throw error
      passedOver.push({ version: reference.version, why: error.message })
    }
  }
  return { chunks, packSizes, passedOver }
}

/** Whether an error says that a version is not what it should be, and not that the store is in trouble. */
function isDamage(error: unknown): error is CodedError {
  return isCoded(error) && damage.has(error.code)
}

const damage: ReadonlySet<string> = new Set<ArtifactErrorCode | BlobErrorCode | BytesErrorCode>([
  'ARTIFACT_BAD_INDEX',
  'ARTIFACT_BAD_MANIFEST',
  'BLOB_MISSING',
  'BLOB_WRONG_ANSWER',
  // An index that ends before its table of packs does.
  'BYTES_SHORT',
])

async function addVersion(
  store: BlobReader,
  oci: Uint8Array,
  keyId: string,
  into: { readonly chunks: Map<string, StoredChunk>; readonly packSizes: Map<BlobDigest, number> },
  signal: AbortSignal,
): Promise<void> {
  const { config, layers } = decodeOciManifest(oci)
  const index = layers.find(({ mediaType }) => mediaType === mediaTypes.chunkIndex)
  // Another's image under the same name.
  if (index === undefined) return
  const manifest = decodeManifest(await readWhole(store, config, maximumManifestBytes, signal))
  if (manifest.keyId !== keyId) return
  const bytes = await readWhole(store, index, largestIndexBytes, signal)
  const header = decodeHeader(bytes, manifest)
  const packs = decodePacks(bytes.subarray(headerBytes, headerBytes + packTableBytes(header)), header)
  for (const { digest, sizeBytes } of packs) into.packSizes.set(digest, sizeBytes)
  // Inner pages are passed through, too: what they name are pages, whose digests no chunk has.
  for (let number = 0; number < header.records; number++) {
    const at = recordsAt(header) + number * recordBytes
    addRecord(bytes.subarray(at, at + recordBytes), packs, into.chunks)
  }
}

/** What is damaged must not get into the next version, whose own digest would then say that it is right. */
async function readWhole(
  store: BlobReader,
  { digest, size }: Descriptor,
  maximumBytes: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  if (size > maximumBytes) {
    throw new BlobError('BLOB_WRONG_ANSWER', `${digest}: expected at most ${maximumBytes} bytes, got ${size}`)
  }
  const bytes = await store.read(digest, 0, size, signal)
  if (digestOf(bytes) === digest) return bytes
  throw new BlobError('BLOB_WRONG_ANSWER', `${digest} is damaged: it has another digest`)
}

function addRecord(
  record: Uint8Array,
  packs: ReturnType<typeof decodePacks>,
  chunks: Map<string, StoredChunk>,
): void {
  for (let slot = 0; slot < fanOut && record.length === recordBytes; slot++) {
    const digest = entryOf(record, slot)
    const { pack, offset, length } = placeAt(record, slot)
    const entry = packs[pack]
    if (digest === undefined || entry === undefined || length === 0 || offset + length > entry.sizeBytes)
      continue
    const name = Buffer.from(digest).toString('hex')
    // A copy: a view would keep the whole index in memory.
    chunks.set(name, { digest: new Uint8Array(digest), pack: entry.digest, offset, length })
  }
}
