import { maximumTraceBytes } from '#core/block/boot-trace.ts'
import {
  decodeJson,
  JsonError,
  list,
  object,
  oneOf,
  optional,
  record,
  type Shaped,
  text,
  where,
  whole,
} from '#core/json/index.ts'
import { vmConfig } from '#core/vm/vm-config.ts'
import { maximumChunkBytes, minimumChunkBytes } from './chunk.ts'
import { ArtifactError } from './errors.ts'

/**
 * What an image is, in the bytes that people sign: the config of the OCI artifact and the target of the release.
 * It names neither packs nor stores: where the bytes lie is nobody's promise, what they are is the root's.
 */
const digits = (count: number) => text(new RegExp(`^[0-9a-f]{${count}}$`), `${count} hexadecimal digits`)
const label = text(
  /^[a-z0-9][a-z0-9._-]{0,127}$/,
  'a name of 1 to 128 lower-case letters, digits, dots, underscores and dashes',
)
/** Nothing in what people sign moves a cursor, ends a line or turns the direction of what is read. */
const word = text(/^[^\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]{1,1000}$/u, '1 to 1000 characters, none that controls')
const instant = where(
  text(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/, 'a time such as 2026-01-31T12:00:00Z'),
  // A day that the month does not have becomes another.
  (time) => new Date(time).toJSON()?.slice(0, 19) === time.slice(0, 19),
  'a time that there is',
)

/** A power of two. */
export const chunkSize = where(
  whole(minimumChunkBytes, maximumChunkBytes),
  (bytes) => (bytes & (bytes - 1)) === 0,
  'a power of two',
)

/** What may be started from the disk, by the name that workspaces call it. */
export const applications = record(label, object({ command: list(word, 1, 50) }))

const imageManifest = object({
  schema: oneOf(1),
  name: label,
  version: label,
  /** Of the disk, bytes; up to 64 TiB. */
  sizeBytes: whole(1, 2 ** 46),
  chunkBytes: chunkSize,
  sectorBytes: oneOf(512, 4096),
  /** Identity of the disk, for formats that have one. */
  diskId: text(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i, 'a UUID'),
  /** Of the Merkle tree over the stored chunks (core/merkle). */
  merkleRoot: digits(64),
  /** How many chunks are stored, and their bytes. */
  storedChunks: whole(0),
  storedBytes: whole(0),
  /** Which image key decrypts the chunks. */
  keyId: digits(32),
  /** The boot trace (core/block), if there is one: SHA-256 and length. */
  trace: optional(object({ digest: digits(64), sizeBytes: whole(1, maximumTraceBytes) })),
  applications,
  /** The virtual machine that it may be run in on an endpoint, if it is made for that. */
  vm: optional(vmConfig),
  /** When it was made. */
  createdAt: instant,
})
export type ImageManifest = Shaped<typeof imageManifest>

export const maximumManifestBytes = 65_536

/**
 * The bytes that are signed: JSON with sorted names.
 *
 * @throws {ArtifactError} ARTIFACT_BAD_INPUT
 */
export function encodeManifest(manifest: ImageManifest): Uint8Array {
  const bytes = Buffer.from(`${canonical(checked(manifest))}\n`)
  if (bytes.length > maximumManifestBytes) {
    throw new ArtifactError(
      'ARTIFACT_BAD_INPUT',
      `expected a manifest of at most ${maximumManifestBytes} bytes, got ${bytes.length}`,
      { remedy: 'Name fewer applications, or fewer hosts that the VM may reach.' },
    )
  }
  return bytes
}

/**
 * Reads a manifest whose digest was compared.
 *
 * @throws {ArtifactError} ARTIFACT_BAD_MANIFEST
 */
export function decodeManifest(bytes: Uint8Array): ImageManifest {
  try {
    const manifest = decodeJson(bytes, maximumManifestBytes, imageManifest)
    if (Buffer.compare(encodeManifest(manifest), bytes) === 0) return manifest
  } catch (cause) {
    if (!(cause instanceof JsonError)) throw cause
    throw badManifest(cause.message, cause)
  }
  throw badManifest('expected sorted names and no spaces')
}

function checked(manifest: ImageManifest): ImageManifest {
  try {
    return imageManifest(manifest)
  } catch (cause) {
    if (!(cause instanceof JsonError)) throw cause
    throw new ArtifactError('ARTIFACT_BAD_INPUT', `this is no image manifest: ${cause.message}`, { cause })
  }
}

function badManifest(why: string, cause?: unknown): ArtifactError {
  return new ArtifactError('ARTIFACT_BAD_MANIFEST', `this is no image manifest of version 1: ${why}`, {
    cause,
  })
}

/** All values are strings, whole numbers, true, false, lists and objects, for which JSON has one form once the names are sorted. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`)
  return `{${members.join(',')}}`
}
