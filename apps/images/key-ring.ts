import { randomBytes, randomUUID } from 'node:crypto'
import { link, mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { type ImageKey, imageKeyBytes, keyIdOf } from '#core/artifact/image-key.ts'
import { type BlobDigest, blobDigest, type ImageReference } from '#core/blobs/index.ts'
import { decodeBase64url } from '#core/bytes/index.ts'
import { object, record, type Shaped, string } from '#core/json/index.ts'
import { ImagesError } from './image-error.ts'
import { lockKey } from './key-lock.ts'

/**
 * What this person's account knows of image families: the key of each, and which images were made here. What was made
 * here may be used here without a signature: whoever has the key made it, or could have.
 */
const family = object({
  /** base64url; by no pattern, whose error would show it. */
  key: string,
  /** Digest of the manifest of each version that was imported here. */
  made: record(string, blobDigest),
})
type Family = Shaped<typeof family>

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

/**
 * The key of a family, made now if there is none. Of several processes that make one at once, all get the same.
 *
 * @throws {ImagesError} IMAGE_KEY_UNREADABLE
 */
export async function imageKeyOrNew(name: string): Promise<ImageKey> {
  const known = await read(name)
  if (known !== undefined) return decodeKey(known)
  const key = new Uint8Array(randomBytes(imageKeyBytes))
  const isFirst = await write(name, { key: Buffer.from(key).toString('base64url'), made: {} }, linkNew)
  return isFirst ? key : imageKey(name)
}

/** Remembers that a version was made here. @throws {ImagesError} IMAGE_KEY_MISSING, IMAGE_KEY_NO_LOCK */
export async function rememberMade({ name, version }: ImageReference, digest: BlobDigest): Promise<void> {
  if ((await read(name)) === undefined) throw missing(name)
  await using _lock = await lockKey(join(keyRingPath(), `${name}.lock`))
  const known = await read(name)
  if (known === undefined) throw missing(name)
  await write(name, { ...known, made: { ...known.made, [version]: digest } }, replace)
}

/** The digest of the manifest of a version that was made here. */
export async function madeHere({ name, version }: ImageReference): Promise<BlobDigest | undefined> {
  const { made = {} } = (await read(name)) ?? {}
  // `constructor` may be a version.
  return Object.hasOwn(made, version) ? made[version] : undefined
}

async function read(name: string): Promise<Family | undefined> {
  const path = join(keyRingPath(), `${name}.json`)
  try {
    const known = family(JSON.parse(await readFile(path, 'utf8')))
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

/** @returns what `put` answers, which gives the complete file its name */
async function write<T>(
  name: string,
  content: Family,
  put: (file: string, path: string) => Promise<T>,
): Promise<T> {
  const folder = keyRingPath()
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const path = join(folder, `${name}.json`)
  const temporary = `${path}.${randomUUID()}`
  try {
    await writeDurably(temporary, `${JSON.stringify(content, undefined, 2)}\n`)
    const answer = await put(temporary, path)
    await syncFolder(folder)
    return answer
  } finally {
    await rm(temporary, { force: true })
  }
}

/** @returns false when the path is taken */
async function linkNew(file: string, path: string): Promise<boolean> {
  try {
    await link(file, path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

async function replace(file: string, path: string): Promise<void> {
  await rename(file, path)
}

async function writeDurably(path: string, text: string): Promise<void> {
  await using file = await open(path, 'wx', 0o600)
  await file.writeFile(text)
  await file.datasync()
}

/** Names are durable when their folder is. */
async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, 'r')
  await folder.sync()
}

function decodeKey({ key }: Family): ImageKey {
  return decodeBase64url(key)
}

function missing(name: string): ImagesError {
  return new ImagesError('IMAGE_KEY_MISSING', `this account has no key of the images named ${name}`, {
    remedy: `Copy ${join(keyRingPath(), `${name}.json`)} from where they were imported.`,
  })
}
