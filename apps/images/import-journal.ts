import { type FileHandle, mkdir, open, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { ImportJournal, StoredChunk } from '#core/artifact/index.ts'
import { blobDigest, formatReference, type ImageReference } from '#core/blobs/index.ts'
import { list, object, type Shape, type Shaped, text, unknown, where, whole } from '#core/json/index.ts'
import { ImagesError } from './image-error.ts'
import { takeLock } from './key-lock.ts'
import { keyRingPath } from './key-ring.ts'

/** What must be the same for an import to go on where another was interrupted. */
export interface ImportIdentity {
  readonly reference: ImageReference
  readonly store: string
  readonly keyId: string
  readonly chunkBytes: number
  /** Path, size and time of last change of the source. */
  readonly source: string
}

const hexDigest = text(/^[0-9a-f]{64}$/, 'a digest')

/** Digest of the stored bytes, offset, length. */
const chunkEntry: Shape<readonly [string, number, number]> = (value) => {
  const [digest, offset, length] = list(unknown, 3, 3)(value)
  return [hexDigest(digest), whole(0)(offset), whole(1)(length)]
}

const packLine = where(
  object({ pack: blobDigest, size: whole(0), chunks: list(chunkEntry, 0, Infinity) }),
  ({ size, chunks }) => chunks.every(([, offset, length]) => offset + length <= size),
  'chunks inside their pack',
)

export interface KeptJournal extends ImportJournal, AsyncDisposable {
  /** The import is done: nothing is left to go on with. */
  forget(): Promise<void>
}

/**
 * Opens the journal of an import: a line that says what is imported, then one for each pack that is in the store. A
 * journal of something else, and a last line that was not written in full, are as if they were not there.
 *
 * INVARIANT: an account imports a name and version once at a time. Of two, each could have the other's digest remembered for its own image.
 *
 * @throws {ImagesError} IMAGE_IMPORT_RUNNING, IMAGE_KEY_NO_LOCK
 */
export async function openJournal(identity: ImportIdentity): Promise<KeptJournal> {
  const path = join(keyRingPath(), 'imports', `${formatReference(identity.reference)}.journal`)
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const file = await openLocked(path, formatReference(identity.reference))
  try {
    const head = JSON.stringify(identity)
    const [first, ...lines] = (await file.readFile('utf8')).split('\n')
    const packs = first === head ? packsOf(lines.slice(0, -1)) : []
    // What is whole stays as it is: whoever is killed here goes on with it.
    const kept = [first, ...lines.slice(0, packs.length), ''].join('\n')
    await file.truncate(packs.length > 0 ? Buffer.byteLength(kept) : 0)
    if (packs.length === 0) await file.write(`${head}\n`)
    return {
      done: packs.flatMap(chunksOf),
      packSizes: new Map(packs.map(({ pack, size }) => [pack, size])),
      record: (pack, size, chunks) => append(file, { pack, size, chunks: chunks.map(lineOf) }),
      forget: () => rm(path, { force: true }),
      [Symbol.asyncDispose]: () => file.close(),
    }
  } catch (error) {
    await file.close()
    throw error
  }
}

async function openLocked(path: string, reference: string): Promise<FileHandle> {
  for (;;) {
    const file = await open(path, 'a+', 0o600)
    try {
      if (!(await takeLock(file, path, false))) throw isRunning(reference)
      // One that was done in the meantime has taken its name away.
      const named = await stat(path).catch(() => undefined)
      if (named?.ino === (await file.stat()).ino) return file
    } catch (error) {
      await file.close()
      throw error
    }
    await file.close()
  }
}

function isRunning(reference: string): ImagesError {
  return new ImagesError('IMAGE_IMPORT_RUNNING', `${reference} is being imported by another process`, {
    remedy: 'Wait until that is done, or choose another version.',
  })
}

type Pack = Shaped<typeof packLine>

function packsOf(lines: readonly string[]): Pack[] {
  const packs: Pack[] = []
  for (const line of lines) {
    const pack = packOf(line)
    if (pack === undefined) break
    packs.push(pack)
  }
  return packs
}

/** Undefined for a line that was not written in full. */
function packOf(line: string): Pack | undefined {
  try {
    return packLine(JSON.parse(line))
  } catch {
    return undefined
  }
}

function chunksOf({ pack, chunks }: Pack): StoredChunk[] {
  return chunks.map(([hex, offset, length]) => ({ digest: Buffer.from(hex, 'hex'), pack, offset, length }))
}

function lineOf({ digest: of, offset, length }: StoredChunk): Pack['chunks'][number] {
  return [Buffer.from(of).toString('hex'), offset, length]
}

async function append(file: FileHandle, pack: Pack): Promise<void> {
  await file.write(`${JSON.stringify(pack)}\n`)
  await file.datasync()
}
