import { encodeUtf8 } from '#core/bytes/index.ts'
import {
  fields,
  list,
  nullish,
  oneOf,
  optional,
  record,
  type Shape,
  string,
  text,
  whole,
} from '#core/json/index.ts'
import { type BlobDigest, maximumManifestBytes } from './blob-store.ts'
import { decodeAnswer } from './decode-answer.ts'
import { BlobError } from './errors.ts'
import { mediaTypes } from './media-types.ts'
import { blobDigest } from './reference.ts'

/** OCI image-spec "Descriptor": one blob of an image. */
export interface Descriptor {
  readonly mediaType: string
  readonly digest: BlobDigest
  readonly size: number
  readonly annotations?: Readonly<Record<string, string>>
}

/** OCI image-spec "Image Manifest": what an image consists of. */
export interface OciManifest {
  readonly artifactType?: string
  readonly config: Descriptor
  /** At most `maximumLayers`. */
  readonly layers: readonly Descriptor[]
  readonly annotations?: Readonly<Record<string, string>>
}

export const maximumLayers = 65_536

/** Shown and compared, and no longer than what a store may be called. */
const name = text(/^.{1,255}$/su, '1 to 255 characters')

/** Absent is the same as empty. */
const annotations: Shape<Readonly<Record<string, string>> | undefined> = (value) => {
  const found = nullish(record(string, string))(value)
  return found !== undefined && Object.keys(found).length > 0 ? found : undefined
}

export const descriptor: Shape<Descriptor> = fields({
  mediaType: name,
  digest: blobDigest,
  size: whole(0),
  annotations,
})

/** What begins a manifest or an index: version 2 and its type, where it says one. */
export const headOf = (mediaType: string) => ({
  schemaVersion: oneOf(2),
  mediaType: optional(oneOf(mediaType)),
})

const ociManifest = fields({
  ...headOf(mediaTypes.manifest),
  artifactType: optional(name),
  config: descriptor,
  layers: list(descriptor, 0, maximumLayers),
  annotations,
})

/**
 * Decodes an OCI image manifest, ours or another's. Fields that are not needed here are passed over, as the
 * specification asks.
 *
 * Spec: OCI image-spec 1.1 "Image Manifest Property Descriptions"
 *
 * @param bytes untrusted, at most `maximumManifestBytes`
 * @throws {BlobError} BLOB_WRONG_ANSWER
 */
export function decodeOciManifest(bytes: Uint8Array): OciManifest {
  const {
    schemaVersion: _version,
    mediaType: _type,
    ...manifest
  } = decodeAnswer(bytes, maximumManifestBytes, ociManifest, 'manifest')
  return manifest
}

/**
 * The same manifest always becomes the same bytes.
 *
 * @throws {BlobError} BLOB_WRONG_ANSWER when it would be larger than stores take
 */
export function encodeOciManifest(manifest: OciManifest): Uint8Array {
  const { artifactType, config, layers, annotations } = manifest
  const bytes = encodeUtf8(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      artifactType,
      config: ordered(config),
      layers: layers.map(ordered),
      annotations: annotations && sorted(annotations),
    }),
  )
  if (bytes.length > maximumManifestBytes || layers.length > maximumLayers) {
    throw new BlobError(
      'BLOB_WRONG_ANSWER',
      `expected a manifest of at most ${maximumManifestBytes} bytes and ${maximumLayers} layers, got ${bytes.length} and ${layers.length}`,
    )
  }
  return bytes
}

function ordered({ mediaType, digest, size, annotations }: Descriptor): Descriptor {
  return { mediaType, digest, size, ...(annotations && { annotations: sorted(annotations) }) }
}

function sorted(annotations: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(annotations).toSorted(([a], [b]) => (a < b ? -1 : 1)))
}
