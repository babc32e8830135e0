import { readFile } from 'node:fs/promises'
import { ImagesError } from '#apps/images/image-error.ts'
import { madeHere, rememberMade } from '#apps/images/key-ring.ts'
import { openWriter } from '#apps/images/open-store.ts'
import { addTrace, readClaimed } from '#core/artifact/index.ts'
import { type BlobStore, formatReference, type ImageReference, parseReference } from '#core/blobs/index.ts'
import { decodeTrace } from '#core/block/boot-trace.ts'
import { CliError } from '../../cli-error.ts'
import { type Command, parse } from '../../command.ts'
import { storeAddress, storeOptions, storeSynopsis, storeWords } from './store-options.ts'

export const traceCommand: Command = {
  synopsis: `trace NAME:VERSION FILE ${storeSynopsis}`,
  summary:
    'Give an image that was made here the boot trace that `disk attach --record FILE` wrote, before it is signed: later boots fetch ahead by it.',
  run: async (args, out) => {
    const words = parse(args, storeWords, [2, 2])
    const [name = '', file = ''] = words.positionals
    const reference = parseReference(name)
    const trace = decodeTrace(await readBytes(file))
    await using store = await openWriter(storeAddress(words), await storeOptions(words))
    const claimed = await readClaimed(store, reference, out.signal)
    const manifest = await addTrace(store, reference, claimed, trace, {
      beforeTag: async (traced) => {
        const made = await madeHere(reference)
        // The new one was made here already where this was interrupted before: then it is finished.
        if (made !== claimed.oci.config.digest && made !== traced) throw notMadeHere(store, reference)
        await rememberMade(reference, traced)
      },
      signal: out.signal,
    })
    out.result(
      { image: formatReference(reference), manifest, ranges: trace.ranges.length },
      () =>
        `${formatReference(reference)} has a boot trace of ${trace.ranges.length} ranges; its manifest is ${manifest}`,
    )
  },
}

function notMadeHere(store: BlobStore, reference: ImageReference): ImagesError {
  return new ImagesError(
    'IMAGE_NOT_TRUSTED',
    `${formatReference(reference)} in ${store.name} was not made by this account`,
    { remedy: 'Give the trace to the image where it was imported.' },
  )
}

async function readBytes(file: string): Promise<Uint8Array> {
  return readFile(file).catch((cause: NodeJS.ErrnoException) => {
    throw new CliError('CLI_FILE_MISSING', `${file} cannot be read: ${cause.message}`, { cause })
  })
}
