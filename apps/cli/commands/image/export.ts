import { randomUUID } from 'node:crypto'
import { type FileHandle, open, rm } from 'node:fs/promises'
import { ImagesError } from '#apps/images/image-error.ts'
import type { OpenedImage } from '#core/artifact/index.ts'
import { formatReference } from '#core/blobs/index.ts'
import { readAhead } from '#core/block/read-ahead.ts'
import { ImageError, type SparseSink, writeDynamicVhd, writeFixedVhd, writeRaw } from '#core/image/index.ts'
import { usage } from '../../cli-error.ts'
import { type Command, parse } from '../../command.ts'
import { warn } from '../../error-text.ts'
import { progressLine } from '../../progress.ts'
import { openNamed, openSynopsis, openWords } from './open-words.ts'
import { sizeText } from './store-options.ts'

const formats = ['raw', 'vhd', 'vhd-fixed'] as const
type Format = (typeof formats)[number]

export const exportCommand: Command = {
  synopsis: `export NAME:VERSION FILE [--format ${formats.join('|')}] ${openSynopsis}`,
  summary: 'Write an image into a file, every chunk verified. Zeros stay holes.',
  run: async (args, out) => {
    const words = parse(args, { ...openWords, format: { type: 'string' } }, [2, 2])
    const [name = '', path = ''] = words.positionals
    const format = formats.find((known) => known === (words.text('format') ?? 'raw'))
    if (format === undefined) throw usage(`--format is one of ${formats.join(', ')}`)
    const { reference, image } = await openNamed(words, name)
    await using opened = image
    const sizeBytes = await writeNew(path, (sink) => writeAs(format, opened, sink, out.signal))
    out.result(
      { image: formatReference(reference), file: path, format, sizeBytes },
      () => `${formatReference(reference)} is in ${path} (${sizeText(sizeBytes)})`,
    )
    if (format === 'vhd-fixed') warnOfAzure(opened.manifest.sizeBytes)
  },
}

const mebibyte = 1_048_576

/** Source: Microsoft, "Prepare a Windows VHD or VHDX to upload to Azure": the virtual size is a multiple of 1 MiB. */
function warnOfAzure(diskBytes: number): void {
  if (diskBytes % mebibyte === 0) return
  const wholeBytes = Math.ceil(diskBytes / mebibyte) * mebibyte
  warn(
    new ImageError(
      'IMAGE_SIZE_UNALIGNED',
      `Azure takes disks of whole MiB only, and this one has ${diskBytes} bytes`,
      {
        remedy: `For Azure, export it as raw, enlarge that (qemu-img resize -f raw FILE ${wholeBytes}) and import it as a new version. Others take the VHD as it is.`,
      },
    ),
  )
}

async function writeAs(
  format: Format,
  { device, manifest }: OpenedImage,
  sink: SparseSink,
  signal: AbortSignal,
): Promise<void> {
  using progress = progressLine()
  const shown: SparseSink = {
    ...sink,
    write: async (offset, bytes) => {
      progress.show(`${Math.min(100, Math.floor((Number(offset) / manifest.sizeBytes) * 100))} % written`)
      await sink.write(offset, bytes)
    },
  }
  const source = readAhead(device, { warm: (offset, length) => device.warm(offset, length) })
  const identity = {
    uniqueId: randomUUID(),
    createdSeconds: Math.floor((Date.now() - Date.UTC(2000, 0, 1)) / 1000),
  }
  switch (format) {
    case 'raw':
      return await writeRaw(source, shown, signal)
    case 'vhd':
      return await writeDynamicVhd(source, shown, identity, signal)
    case 'vhd-fixed':
      return await writeFixedVhd(source, shown, identity, signal)
  }
}

/** A file that is there is left alone, and one that did not become whole does not stay. */
async function writeNew(path: string, write: (sink: SparseSink) => Promise<void>): Promise<number> {
  const file = await open(path, 'wx').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'EEXIST') throw cause
    throw new ImagesError('IMAGE_FILE_EXISTS', `${path} is there already`, {
      cause,
      remedy: 'Name a file that is not there yet.',
    })
  })
  try {
    await write(fileSink(file))
    await file.sync()
    return (await file.stat()).size
  } catch (error) {
    await rm(path, { force: true })
    throw error
  } finally {
    await file.close()
  }
}

function fileSink(file: FileHandle): SparseSink {
  return {
    write: async (offset, bytes) => {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await file.write(bytes, done, bytes.length - done, Number(offset) + done)
        done += bytesWritten
      }
    },
    resize: (sizeBytes) => file.truncate(Number(sizeBytes)),
  }
}
