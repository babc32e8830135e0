import { encodeUtf8 } from '#core/bytes/index.ts'
import { fields, list, oneOf, record, type Shape, string, unknown } from '#core/json/index.ts'
import type { ImageReference } from './blob-store.ts'
import { decodeAnswer } from './decode-answer.ts'
import { BlobError } from './errors.ts'
import { mediaTypes } from './media-types.ts'
import { type Descriptor, descriptor, headOf } from './oci-manifest.ts'
import { formatReference, parseReference } from './reference.ts'

/** One line of an index. */
export interface IndexEntry {
  /** As it was read, so that what others wrote is written back unchanged. */
  readonly raw: unknown
  /** Absent where it cannot be understood, such as one with a digest of another kind. */
  readonly descriptor?: Descriptor
  /** Absent where it has no name, or one that is no `name:version` of ours. */
  readonly reference?: ImageReference
}

/** OCI image-spec "Image Index": `index.json` of a layout, or an image for several platforms. */
export interface OciIndex {
  readonly raw: Readonly<Record<string, unknown>>
  readonly entries: readonly IndexEntry[]
}

export const maximumIndexBytes = 16_777_216
const maximumEntries = 65_536

/** OCI image-spec "Image Layout": content of the file `oci-layout`. */
export const layoutVersion = '{"imageLayoutVersion":"1.0.0"}'

/** OCI image-spec "Image Layout": what `skopeo copy oci:DIR:REFERENCE` looks for. */
const refName = 'org.opencontainers.image.ref.name'

const layout = fields({ imageLayoutVersion: oneOf('1.0.0') })

/** @throws {BlobError} BLOB_WRONG_ANSWER when `oci-layout` says another version than 1.0.0 */
export function requireLayoutVersion(bytes: Uint8Array): void {
  decodeAnswer(bytes, 65_536, layout, 'oci-layout')
}

const anyObject = record(string, unknown)
const known = fields({ ...headOf(mediaTypes.index), manifests: list(unknown, 0, maximumEntries) })
const ociIndex: Shape<OciIndex> = (value) => ({
  raw: anyObject(value),
  entries: known(value).manifests.map(decodeEntry),
})
const entryWithName = fields({ annotations: fields({ [refName]: string }) })

/**
 * @param bytes untrusted, at most `maximumIndexBytes`
 * @throws {BlobError} BLOB_WRONG_ANSWER
 */
export function decodeOciIndex(bytes: Uint8Array): OciIndex {
  return decodeAnswer(bytes, maximumIndexBytes, ociIndex, 'index')
}

export const emptyOciIndex: OciIndex = {
  raw: { schemaVersion: 2, mediaType: mediaTypes.index },
  entries: [],
}

/** @throws {BlobError} BLOB_WRONG_ANSWER when it would be larger than readers take */
export function encodeOciIndex({ raw, entries }: OciIndex): Uint8Array {
  const bytes = encodeUtf8(JSON.stringify({ ...raw, manifests: entries.map((entry) => entry.raw) }))
  if (bytes.length > maximumIndexBytes || entries.length > maximumEntries) {
    throw new BlobError(
      'BLOB_WRONG_ANSWER',
      `expected an index of at most ${maximumIndexBytes} bytes and ${maximumEntries} images, got ${bytes.length} and ${entries.length}`,
    )
  }
  return bytes
}

/** The manifest that a name means. Of several the last counts: that one was written last. */
export function findImage({ entries }: OciIndex, { name, version }: ImageReference): Descriptor | undefined {
  return entries.findLast(
    ({ reference, descriptor }) =>
      descriptor !== undefined && reference?.name === name && reference.version === version,
  )?.descriptor
}

/** The index with this name for this manifest, and for no other. */
export function withImage(index: OciIndex, reference: ImageReference, descriptor: Descriptor): OciIndex {
  const annotations = { ...descriptor.annotations, [refName]: formatReference(reference) }
  const named = { ...descriptor, annotations }
  const { entries } = withoutImage(index, reference)
  return { ...index, entries: [...entries, { raw: named, descriptor: named, reference }] }
}

/** The index without this name. */
export function withoutImage(index: OciIndex, { name, version }: ImageReference): OciIndex {
  return {
    ...index,
    entries: index.entries.filter(
      ({ reference }) => reference?.name !== name || reference.version !== version,
    ),
  }
}

function decodeEntry(raw: unknown): IndexEntry {
  const understood = attempt(() => descriptor(raw))
  // An entry that is not understood may have a name all the same.
  const reference = attempt(() => parseReference(entryWithName(raw).annotations[refName]))
  return { raw, ...(understood && { descriptor: understood }), ...(reference && { reference }) }
}

function attempt<T>(decode: () => T): T | undefined {
  try {
    return decode()
  } catch {
    return undefined
  }
}
