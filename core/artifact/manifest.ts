import { z } from 'zod'
import { maximumTraceBytes } from '#core/block/boot-trace.ts'
import { vmConfig } from '#core/vm/vm-config.ts'
import { maximumChunkBytes, minimumChunkBytes } from './chunk.ts'
import { ArtifactError } from './errors.ts'

/**
 * What an image is, in the bytes that people sign: the config of the OCI artifact and the target of the release.
 * It names neither packs nor stores: where the bytes lie is nobody's promise, what they are is the root's.
 */
const digits = (count: number) => z.string().regex(new RegExp(`^[0-9a-f]{${count}}$`))
const label = z.string().regex(/^[a-z0-9][a-z0-9._-]{0,127}$/)
/** Nothing in what people sign moves a cursor, ends a line or turns the direction of what is read. */
const word = z
  .string()
  .min(1)
  .max(1000)
  .regex(/^[^\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]*$/u, 'expected no control characters')

export const imageManifest = z.strictObject({
  schema: z.literal(1),
  name: label,
  version: label,
  /** Of the disk, bytes; up to 64 TiB. */
  sizeBytes: z
    .int()
    .min(1)
    .max(2 ** 46),
  /** A power of two. */
  chunkBytes: z
    .int()
    .min(minimumChunkBytes)
    .max(maximumChunkBytes)
    .refine((value) => (value & (value - 1)) === 0, 'expected a power of two'),
  sectorBytes: z.union([z.literal(512), z.literal(4096)]),
  /** Identity of the disk, for formats that have one. */
  diskId: z.uuid(),
  /** Of the Merkle tree over the stored chunks (core/merkle). */
  merkleRoot: digits(64),
  /** How many chunks are stored, and their bytes. */
  storedChunks: z.int().min(0),
  storedBytes: z.int().min(0),
  /** Which image key decrypts the chunks. */
  keyId: digits(32),
  /** The boot trace (core/block), if there is one: SHA-256 and length. */
  trace: z.strictObject({ digest: digits(64), sizeBytes: z.int().min(1).max(maximumTraceBytes) }).optional(),
  /** What may be started from the disk, by the name that workspaces call it. */
  applications: z.record(label, z.strictObject({ command: z.array(word).min(1).max(50) })),
  /** The virtual machine that it may be run in on an endpoint, if it is made for that. */
  vm: vmConfig.optional(),
  /** When it was made. */
  createdAt: z.iso.datetime(),
})
export type ImageManifest = z.infer<typeof imageManifest>

export const maximumManifestBytes = 65_536

/**
 * The bytes that are signed: JSON with sorted names.
 *
 * @throws {ArtifactError} ARTIFACT_BAD_INPUT
 */
export function encodeManifest(manifest: ImageManifest): Uint8Array {
  const { data, error } = imageManifest.safeParse(manifest)
  if (error !== undefined) {
    throw new ArtifactError('ARTIFACT_BAD_INPUT', `this is no image manifest: ${z.prettifyError(error)}`, {
      cause: error,
    })
  }
  const bytes = Buffer.from(`${canonical(data)}\n`)
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
  if (bytes.length > maximumManifestBytes) {
    throw badManifest(`expected at most ${maximumManifestBytes} bytes, got ${bytes.length}`)
  }
  try {
    const manifest = imageManifest.parse(JSON.parse(Buffer.from(bytes).toString()))
    if (Buffer.compare(encodeManifest(manifest), bytes) === 0) return manifest
  } catch (cause) {
    throw badManifest(cause instanceof Error ? cause.message : 'expected JSON', cause)
  }
  throw badManifest('expected sorted names and no spaces')
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
