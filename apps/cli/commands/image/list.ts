import { madeHere } from '#apps/images/key-ring.ts'
import { openReader } from '#apps/images/open-store.ts'
import { readClaimed } from '#core/artifact/index.ts'
import { type BlobReader, formatReference, type ImageReference } from '#core/blobs/index.ts'
import { type Command, parse, table } from '../../command.ts'
import { sizeText, storeAddress, storeOptions, storeSynopsis, storeWords } from './store-options.ts'

export const listCommand: Command = {
  synopsis: `list ${storeSynopsis}`,
  summary: 'The images of a store, as the store says.',
  run: async (args, out) => {
    const words = parse(args, storeWords, [0, 0])
    await using store = await openReader(storeAddress(words), await storeOptions(words))
    const references = await store.references(out.signal)
    const rows = await Promise.all(references.map((reference) => rowOf(store, reference, out.signal)))
    out.result(rows, () =>
      table(
        ['image', 'disk', 'stored', 'made here'],
        rows.map(({ image, sizeBytes, bytesTotal, isMadeHere }) => [
          image,
          sizeBytes === undefined ? 'no image of ours' : sizeText(sizeBytes),
          bytesTotal === undefined ? '' : sizeText(bytesTotal),
          isMadeHere ? 'yes' : 'no',
        ]),
      ),
    )
  },
}

async function rowOf(store: BlobReader, reference: ImageReference, signal: AbortSignal) {
  const claimed = await readClaimed(store, reference, signal).catch(() => undefined)
  return {
    image: formatReference(reference),
    sizeBytes: claimed?.manifest.sizeBytes,
    bytesTotal: claimed?.oci.layers.reduce((sum, { size }) => sum + size, 0),
    manifest: claimed?.oci.config.digest,
    isMadeHere: claimed !== undefined && (await madeHere(reference)) === claimed.oci.config.digest,
  }
}
