import { type FileHandle, mkdir, open, readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import type { ImportJournal, StoredChunk } from '#core/artifact/index.ts'
import { type BlobDigest, formatReference, type ImageReference } from '#core/blobs/index.ts'
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

const digest = z.custom<BlobDigest>(
  (value) => typeof value === 'string' && /^sha256:[0-9a-f]{64}$/.test(value),
)
const packLine = z
  .strictObject({
    pack: digest,
    size: z.int(),
    /** Digest of the stored bytes, offset, length. */
    chunks: z.array(z.tuple([z.string().regex(/^[0-9a-f]{64}$/), z.int().min(0), z.int().min(1)])),
  })
  .refine(({ size, chunks }) => chunks.every(([, offset, length]) => offset + length <= size))

export interface KeptJournal extends ImportJournal, AsyncDisposable {
  /** The import is done: nothing is left to go on with. */
  forget(): Promise<void>
}

/**
 * Opens the journal of an import: a line that says what is imported, then one for each pack that is in the store. A
 * journal of something else, and a last line that was not written in full, are as if they were not there.
 */
export async function openJournal(identity: ImportIdentity): Promise<KeptJournal> {
  const path = join(keyRingPath(), 'imports', `${formatReference(identity.reference)}.journal`)
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const head = JSON.stringify(identity)
  const [first, ...lines] = (await readFile(path, 'utf8').catch(() => '')).split('\n')
  const packs = first === head ? packsOf(lines.slice(0, -1)) : []
  const file = await open(path, 'w', 0o600)
  await file.write(`${[head, ...packs.map((pack) => JSON.stringify(pack))].join('\n')}\n`)
  return {
    done: packs.flatMap(chunksOf),
    packSizes: new Map(packs.map(({ pack, size }) => [pack, size])),
    record: (pack, size, chunks) => append(file, { pack, size, chunks: chunks.map(lineOf) }),
    forget: () => rm(path, { force: true }),
    [Symbol.asyncDispose]: () => file.close(),
  }
}

type Pack = z.infer<typeof packLine>

function packsOf(lines: readonly string[]): Pack[] {
  const packs: Pack[] = []
  for (const line of lines) {
    const parsed = packLine.safeParse(parseJson(line))
    if (!parsed.success) break
    packs.push(parsed.data)
  }
  return packs
}

function parseJson(line: string): unknown {
  try {
    return JSON.parse(line) as unknown
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
