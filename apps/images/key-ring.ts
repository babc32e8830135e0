import { randomBytes } from 'node:crypto'
import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { z } from 'zod'
import { type ImageKey, imageKeyBytes, keyIdOf } from '#core/artifact/index.ts'
import { type BlobDigest, type ImageReference, parseDigest } from '#core/blobs/index.ts'
import { ImagesError } from './image-error.ts'

/**
 * What this person's account knows of image families: the key of each, and which images were made here. What was made
 * here may be used here without a signature: whoever has the key made it, or could have.
 */
const family = z.strictObject({
  key: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  /** Digest of the manifest of each version that was imported here. */
  made: z.record(z.string(), z.string().regex(/^sha256:[0-9a-f]{64}$/)),
})
type Family = z.infer<typeof family>

/** `$TRUSTCAST_IMAGES`, else in the person's configuration folder; readable by them alone. */
export function keyRingPath(): string {
  return (
    process.env['TRUSTCAST_IMAGES'] ??
    join(process.env['XDG_CONFIG_HOME'] ?? join(homedir(), '.config'), 'trustcast', 'images')
  )
}

/** @throws {ImagesError} IMAGE_KEY_MISSING, IMAGE_KEY_UNREADABLE */
export async function imageKey(name: string): Promise<ImageKey> {
  const known = await read(name)
  if (known === undefined) throw missing(name)
  return decodeKey(known)
}

/** The key of a family, made now if there is none. @throws {ImagesError} IMAGE_KEY_UNREADABLE */
export async function imageKeyOrNew(name: string): Promise<ImageKey> {
  const known = await read(name)
  if (known !== undefined) return decodeKey(known)
  const key = new Uint8Array(randomBytes(imageKeyBytes))
  await write(name, { key: Buffer.from(key).toString('base64url'), made: {} })
  return key
}

/** Remembers that a version was made here. */
export async function rememberMade({ name, version }: ImageReference, digest: BlobDigest): Promise<void> {
  const known = await read(name)
  if (known === undefined) throw missing(name)
  await write(name, { ...known, made: { ...known.made, [version]: digest } })
}

/** The digest of the manifest of a version that was made here. */
export async function madeHere({ name, version }: ImageReference): Promise<BlobDigest | undefined> {
  const digest = (await read(name))?.made[version]
  return digest === undefined ? undefined : parseDigest(digest)
}

async function read(name: string): Promise<Family | undefined> {
  const path = join(keyRingPath(), `${name}.json`)
  try {
    const known = family.parse(JSON.parse(await readFile(path, 'utf8')))
    keyIdOf(decodeKey(known))
    return known
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new ImagesError('IMAGE_KEY_UNREADABLE', `${path} does not hold the key of an image family`, {
      cause,
      remedy: 'Put it back from a copy. Without the key nobody can read the images of the family.',
    })
  }
}

async function write(name: string, content: Family): Promise<void> {
  const folder = keyRingPath()
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const path = join(folder, `${name}.json`)
  const file = await open(`${path}.${process.pid}`, 'w', 0o600)
  try {
    await file.writeFile(`${JSON.stringify(content, undefined, 2)}\n`)
    await file.datasync()
  } finally {
    await file.close()
  }
  await rename(`${path}.${process.pid}`, path)
}

function decodeKey({ key }: Family): ImageKey {
  return new Uint8Array(Buffer.from(key, 'base64url'))
}

function missing(name: string): ImagesError {
  return new ImagesError('IMAGE_KEY_MISSING', `this account has no key of the images named ${name}`, {
    remedy: `Copy ${join(keyRingPath(), `${name}.json`)} from where they were imported.`,
  })
}
