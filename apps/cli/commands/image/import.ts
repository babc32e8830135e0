import { randomUUID } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { ChunkWorkers } from '#adapters/chunk-workers/index.ts'
import { openDiskFile } from '#adapters/disk-file/index.ts'
import { ImagesError } from '#apps/images/image-error.ts'
import { openJournal } from '#apps/images/import-journal.ts'
import { imageKeyOrNew, rememberMade } from '#apps/images/key-ring.ts'
import { openWriter } from '#apps/images/open-store.ts'
import {
  applications,
  chunkSize,
  defaultChunkBytes,
  type ImportedImage,
  type ImportOptions,
  importImage,
  keyIdOf,
  readKnownChunks,
} from '#core/artifact/index.ts'
import { type BlobStore, formatReference, type ImageReference, parseReference } from '#core/blobs/index.ts'
import type { ImageFormat } from '#core/image/index.ts'
import { fits } from '#core/json/index.ts'
import { usage } from '../../cli-error.ts'
import { type Command, type Output, type Parsed, parse } from '../../command.ts'
import { progressLine } from '../../progress.ts'
import {
  parseSize,
  sizeText,
  storeAddress,
  storeOptions,
  storeSynopsis,
  storeWords,
} from './store-options.ts'

const formats: readonly ImageFormat[] = ['raw', 'vhd', 'vhdx', 'qcow2', 'vmdk']

export const importCommand: Command = {
  synopsis: `import FILE NAME:VERSION ${storeSynopsis} [--format ${formats.join('|')}] [--parents FOLDER] [--app NAME=COMMAND]… [--vm FILE.yaml] [--sector 512|4096] [--chunk SIZE] [--replace]`,
  summary:
    'Cut a disk into encrypted chunks and put those into a store that it does not have. Goes on where an earlier run was interrupted. The key of NAME is made at the first import and stays in this account.',
  run: async (args, out) => {
    const words = parse(
      args,
      {
        ...storeWords,
        format: { type: 'string' },
        parents: { type: 'string' },
        app: { type: 'string', multiple: true },
        vm: { type: 'string' },
        sector: { type: 'string' },
        chunk: { type: 'string' },
        replace: { type: 'boolean' },
      },
      [2, 2],
    )
    const [path = '', name = ''] = words.positionals
    const reference = parseReference(name)
    const about = await aboutOf(words)
    await using store = await openWriter(storeAddress(words), await storeOptions(words))
    if (!words.flag('replace')) await requireNew(store, reference, out.signal)
    const started = performance.now()
    const imported = await runImport(words, path, { reference, about }, store, out)
    report(imported, store, (performance.now() - started) / 1000, out)
  },
}

async function requireNew(store: BlobStore, reference: ImageReference, signal: AbortSignal): Promise<void> {
  if ((await store.manifest(reference, signal)) === undefined) return
  throw new ImagesError('IMAGE_EXISTS', `${store.name} has ${formatReference(reference)} already`, {
    remedy: 'Choose another version, or add --replace if nobody uses it yet.',
  })
}

async function runImport(
  words: Parsed,
  path: string,
  { reference, about }: Pick<ImportOptions, 'reference' | 'about'>,
  store: BlobStore,
  out: Output,
): Promise<ImportedImage> {
  const { signal } = out
  const { device: source } = await openDiskFile(path, {
    ...diskOptions(words, signal),
    onUnpack: (format) => out.say(`Checking and unpacking the ${format} first`),
  })
  await using device = source
  const key = await imageKeyOrNew(reference.name)
  const keyId = keyIdOf(key)
  // Its threads start while the store is looked at.
  await using sealer = new ChunkWorkers(key)
  const { size, mtimeMs } = await stat(path)
  await using journal = await openJournal({
    reference,
    store: store.name,
    keyId,
    chunkBytes: about.chunkBytes,
    source: `${resolve(path)} ${size} ${mtimeMs}`,
  })
  // Another one may have been done since it was asked first.
  if (!words.flag('replace')) await requireNew(store, reference, signal)
  if (journal.done.length > 0) out.say(`Going on: ${journal.done.length} chunks are in the store already`)
  const known = await readKnownChunks(store, { name: reference.name, keyId }, signal)
  for (const { version, why } of known.passedOver) {
    out.say(`What ${reference.name}:${version} has is stored again: ${why}`)
  }
  using progress = progressLine()
  const imported = await importImage({
    source: device,
    reference,
    key,
    store,
    sealer,
    known,
    journal,
    about,
    signal,
    beforeTag: async (manifestDigest) => {
      const now = await stat(path)
      if (now.size !== size || now.mtimeMs !== mtimeMs) throw sourceChanged(path)
      // First here: an image that is in the store and not known here could be neither used nor imported again.
      await rememberMade(reference, manifestDigest)
    },
    onProgress: ({ bytesDone, sizeBytes, bytesStored }) =>
      progress.show(
        `${Math.floor((bytesDone / sizeBytes) * 100)} % of ${sizeText(sizeBytes)}, ${sizeText(bytesStored)} stored`,
      ),
  })
  await journal.forget()
  return imported
}

/** Of a disk that a machine writes to meanwhile, each part is from another moment: its file systems are damaged. */
function sourceChanged(path: string): ImagesError {
  return new ImagesError('IMAGE_SOURCE_CHANGED', `${path} was written to while it was imported`, {
    remedy: 'Import it again while no machine uses it.',
  })
}

function diskOptions(words: Parsed, signal: AbortSignal) {
  const format = formats.find((known) => known === words.text('format'))
  if (format === undefined && words.text('format') !== undefined)
    throw usage(`--format is one of ${formats.join(', ')}`)
  const parents = words.text('parents')
  return { ...(format && { format }), ...(parents !== undefined && { parentFolders: [parents] }), signal }
}

/** @throws {CliError} USAGE, CLI_FILE_MISSING; {ConfigError} naming the line */
async function aboutOf(words: Parsed): Promise<ImportOptions['about']> {
  const sector = words.text('sector') ?? '512'
  if (sector !== '512' && sector !== '4096') throw usage('--sector is 512 or 4096')
  const chunk = words.text('chunk')
  const chunkBytes = chunk === undefined ? defaultChunkBytes : parseSize(chunk, '--chunk')
  if (!fits(chunkSize, chunkBytes)) {
    throw usage('--chunk is a power of two from 64K to 4M')
  }
  const vm = words.text('vm')
  return {
    chunkBytes,
    sectorBytes: sector === '512' ? 512 : 4096,
    diskId: randomUUID(),
    applications: Object.fromEntries(words.list('app').map(applicationOf)),
    ...(vm !== undefined && { vm: await vmOf(vm) }),
    createdAt: new Date().toISOString(),
  }
}

/** Most images are none of a machine: what reads the file is loaded for those that are. It is more than half of all modules. */
async function vmOf(path: string) {
  const { readVmFile } = await import('./vm-file.ts')
  return readVmFile(path)
}

/** `NAME=COMMAND WORD …`: words are separated by spaces. */
function applicationOf(text: string): [string, { command: string[] }] {
  const [name = '', ...rest] = text.split('=')
  const command = rest
    .join('=')
    .split(' ')
    .filter((word) => word !== '')
  const application = { [name]: { command } }
  if (!fits(applications, application)) {
    throw usage(
      '--app is NAME=COMMAND, such as --app "writer=/usr/bin/writer --new": a name in lower case, at most 50 words, no control characters',
    )
  }
  return [name, { command }]
}

function report(imported: ImportedImage, store: BlobStore, seconds: number, out: Output): void {
  const { manifest, manifestDigest, chunks, reusedChunks, bytesStored, bytesTotal } = imported
  out.result(
    {
      image: formatReference(manifest),
      manifest: manifestDigest,
      store: store.name,
      sizeBytes: manifest.sizeBytes,
      merkleRoot: manifest.merkleRoot,
      keyId: manifest.keyId,
      chunks,
      reusedChunks,
      bytesStored,
      bytesTotal,
      seconds: Number(seconds.toFixed(3)),
    },
    () =>
      [
        `${formatReference(manifest)} is in ${store.name}`,
        `  disk       ${sizeText(manifest.sizeBytes)}, ${chunks} chunks that are not zeros, ${reusedChunks} of them known`,
        `  stored     ${sizeText(bytesStored)} new, ${sizeText(bytesTotal)} in all`,
        `  manifest   ${manifestDigest}`,
        `  took       ${seconds.toFixed(1)} s, ${sizeText(manifest.sizeBytes / seconds)}/s`,
      ].join('\n'),
  )
}
