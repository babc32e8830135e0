import { encodeUtf8 } from '#core/bytes/index.ts'
import { type BlobDigest, maximumManifestBytes } from './blob-store.ts'
import {
  annotationsField,
  arrayField,
  asObject,
  field,
  type JsonObject,
  parseJsonObject,
  shown,
  sizeField,
  stringField,
  wrong,
} from './json-fields.ts'
import { mediaTypes } from './media-types.ts'
import { parseDigest } from './reference.ts'

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
  const manifest = parseJsonObject(bytes, maximumManifestBytes, 'manifest')
  requireSchema(manifest, mediaTypes.manifest, 'manifest')
  const artifactType = field(manifest, 'artifactType')
  return {
    ...(artifactType !== undefined && { artifactType: stringField(manifest, 'artifactType', 'manifest') }),
    config: decodeDescriptor(field(manifest, 'config'), 'config of the manifest'),
    layers: arrayField(manifest, 'layers', maximumLayers, 'manifest').map((layer, index) =>
      decodeDescriptor(layer, `layer ${index} of the manifest`),
    ),
    ...someAnnotations(manifest, 'manifest'),
  }
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
    throw wrong(
      `expected a manifest of at most ${maximumManifestBytes} bytes and ${maximumLayers} layers, got ${bytes.length} and ${layers.length}`,
    )
  }
  return bytes
}

/** @throws {BlobError} BLOB_WRONG_ANSWER unless it is of version 2 and of this type, where it says one */
export function requireSchema(object: JsonObject, mediaType: string, what: string): void {
  const version = field(object, 'schemaVersion')
  if (version !== 2) throw wrong(`${what}: expected schemaVersion 2, got ${shown(version)}`)
  const type = field(object, 'mediaType')
  if (type !== undefined && type !== mediaType) {
    throw wrong(`${what}: expected mediaType ${mediaType}, got ${shown(type)}`)
  }
}

/** @throws {BlobError} BLOB_WRONG_ANSWER */
export function decodeDescriptor(value: unknown, what: string): Descriptor {
  const object = asObject(value, what)
  return {
    mediaType: stringField(object, 'mediaType', what),
    digest: decodeDigest(stringField(object, 'digest', what), what),
    size: sizeField(object, 'size', what),
    ...someAnnotations(object, what),
  }
}

function decodeDigest(text: string, what: string): BlobDigest {
  try {
    return parseDigest(text)
  } catch (cause) {
    throw wrong(`${what}: expected a SHA-256 digest, got ${shown(text)}`, cause)
  }
}

function someAnnotations(object: JsonObject, what: string): Pick<Descriptor, 'annotations'> {
  const annotations = annotationsField(object, what)
  return Object.keys(annotations).length === 0 ? {} : { annotations }
}

function ordered({ mediaType, digest, size, annotations }: Descriptor): Descriptor {
  return { mediaType, digest, size, ...(annotations && { annotations: sorted(annotations) }) }
}

function sorted(annotations: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(annotations).toSorted(([a], [b]) => (a < b ? -1 : 1)))
}
