import { existsSync } from 'node:fs'
import { ImagesError } from '#apps/images/image-error.ts'
import { madeHere } from '#apps/images/key-ring.ts'
import { openReader, type StoreOptions } from '#apps/images/open-store.ts'
import { readClaimed } from '#core/artifact/index.ts'
import { type BlobDigest, type BlobReader, formatReference, type ImageReference } from '#core/blobs/index.ts'
import { type Command, parse, table } from '../../command.ts'
import { ownStore, sizeText, storeAddress, storeOptions, storeSynopsis, storeWords } from './store-options.ts'

export const listCommand: Command = {
  synopsis: `list ${storeSynopsis}`,
  summary: 'The images of a store, as the store says.',
  run: async (args, out) => {
    const words = parse(args, storeWords, [0, 0])
    const address = storeAddress(words)
    const isNew = address === ownStore() && !existsSync(address)
    const rows = isNew ? [] : await rowsOf(address, await storeOptions(words), out.signal)
    out.result(rows, () => {
      if (rows.length === 0)
        return `There are no images in ${address} yet. Import one: trustcast image import FILE NAME:VERSION`
      return table(
        ['image', 'disk', 'stored', 'made here'],
        rows.map(({ image, sizeBytes, bytesTotal, isMadeHere }) => [
          image,
          sizeBytes === undefined ? 'no image of ours' : sizeText(sizeBytes),
          bytesTotal === undefined ? '' : sizeText(bytesTotal),
          isMadeHere === undefined ? 'key unreadable' : yesOrNo(isMadeHere),
        ]),
      )
    })
  },
}

function yesOrNo(is: boolean): string {
  return is ? 'yes' : 'no'
}

async function rowsOf(address: string, options: StoreOptions, signal: AbortSignal) {
  await using store = await openReader(address, options)
  const references = await store.references(signal)
  return await Promise.all(references.map((reference) => rowOf(store, reference, signal)))
}

async function rowOf(store: BlobReader, reference: ImageReference, signal: AbortSignal) {
  const claimed = await readClaimed(store, reference, signal).catch(() => undefined)
  return {
    image: formatReference(reference),
    sizeBytes: claimed?.manifest.sizeBytes,
    bytesTotal: claimed?.oci.layers.reduce((sum, { size }) => sum + size, 0),
    manifest: claimed?.oci.config.digest,
    isMadeHere: claimed !== undefined && (await isMade(reference, claimed.oci.config.digest)),
  }
}

/** @returns undefined when the account's file of the family is damaged: whoever needs it is told more then */
async function isMade(reference: ImageReference, manifest: BlobDigest): Promise<boolean | undefined> {
  try {
    return (await madeHere(reference)) === manifest
  } catch (error) {
    if (error instanceof ImagesError && error.code === 'IMAGE_KEY_UNREADABLE') return undefined
    throw error
  }
}
