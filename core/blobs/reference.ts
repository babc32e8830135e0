import { createHash } from 'node:crypto'
import { type Shape, text } from '#core/json/index.ts'
import type { BlobDigest, ImageReference } from './blob-store.ts'
import { BlobError } from './errors.ts'

const part = /^[a-z0-9][a-z0-9._-]{0,127}$/
const digestText = /^sha256:[0-9a-f]{64}$/

/**
 * Parses `name:version`. Both are 1 to 128 of `a-z 0-9 . _ -` and begin with a letter or digit, so that they are safe as
 * names of files, as parts of an address and as OCI tags.
 *
 * @throws {BlobError} BLOB_BAD_REFERENCE
 */
export function parseReference(text: string): ImageReference {
  const [name = '', version, ...more] = text.split(':', 3)
  if (version === undefined || more.length > 0) throw badReference(text)
  return requireReference({ name, version })
}

/** @throws {BlobError} BLOB_BAD_REFERENCE */
export function formatReference(reference: ImageReference): string {
  const { name, version } = requireReference(reference)
  return `${name}:${version}`
}

/** @throws {BlobError} BLOB_BAD_REFERENCE when name or version has another form than `parseReference` takes */
export function requireReference(reference: ImageReference): ImageReference {
  const { name, version } = reference
  if (part.test(name) && part.test(version)) return reference
  throw badReference(`${name}:${version}`)
}

function badReference(text: string): BlobError {
  return new BlobError(
    'BLOB_BAD_REFERENCE',
    `expected an image as name:version, got ${JSON.stringify(text.slice(0, 300))}`,
    {
      remedy:
        'Write it like debian-desktop:2: lower-case letters, digits, dots, dashes and underscores, at most 128 each.',
    },
  )
}

/** A digest in what is decoded from JSON. */
export const blobDigest = text(
  digestText,
  'sha256: and 64 lower-case hexadecimal digits',
) as Shape<BlobDigest>

/** @throws {BlobError} BLOB_BAD_REFERENCE when it is not `sha256:` and 64 lower-case hexadecimal digits */
export function parseDigest(text: string): BlobDigest {
  if (digestText.test(text)) return text as BlobDigest
  throw new BlobError(
    'BLOB_BAD_REFERENCE',
    `expected sha256: and 64 lower-case hexadecimal digits, got ${JSON.stringify(text.slice(0, 100))}`,
  )
}

/** The 64 digits of a digest: the name of its file. @throws {BlobError} BLOB_BAD_REFERENCE */
export function digestHex(digest: BlobDigest): string {
  return parseDigest(digest).slice('sha256:'.length)
}

/** SHA-256 of the bytes. */
export function digestOf(bytes: Uint8Array): BlobDigest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}
