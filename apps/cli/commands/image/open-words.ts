import type { ParseArgsOptionsConfig } from 'node:util'
import { openReader } from '#apps/images/open-store.ts'
import { openTrusted, trustedDigest } from '#apps/images/trusted-image.ts'
import { noCache, type OpenedImage } from '#core/artifact/index.ts'
import { type BlobDigest, type ImageReference, parseDigest, parseReference } from '#core/blobs/index.ts'
import type { Parsed } from '../../command.ts'
import { storeAddress, storeOptions, storeSynopsis, storeWords } from './store-options.ts'

/** What every command that opens an image takes. */
export const openWords: ParseArgsOptionsConfig = { ...storeWords, manifest: { type: 'string' } }
export const openSynopsis = `${storeSynopsis} [--manifest DIGEST]`

const memoryBytes = 67_108_864

/** Opens the image that a command names, as this account trusts it to be. */
export async function openNamed(
  words: Parsed,
  name: string,
): Promise<{ readonly reference: ImageReference; readonly digest: BlobDigest; readonly image: OpenedImage }> {
  const reference = parseReference(name)
  const named = words.text('manifest')
  const digest = await trustedDigest(reference, named === undefined ? undefined : parseDigest(named))
  const store = await openReader(storeAddress(words), await storeOptions(words))
  const image = await openTrusted(reference, digest, [store], { cache: noCache, memoryBytes })
  return { reference, digest, image }
}
