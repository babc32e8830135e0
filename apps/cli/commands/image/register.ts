import { z } from 'zod'
import { ImagesError } from '#apps/images/image-error.ts'
import { imageKey, madeHere } from '#apps/images/key-ring.ts'
import { openReader } from '#apps/images/open-store.ts'
import { imageKeyAnswer } from '#core/api/admin.ts'
import { readClaimed } from '#core/artifact/index.ts'
import { formatReference, parseReference } from '#core/blobs/index.ts'
import { type Command, parse } from '../../command.ts'
import { compareWithRegistered } from './compare-registered.ts'
import { siteCall } from './site-releases.ts'
import { storeAddress, storeOptions, storeSynopsis, storeWords } from './store-options.ts'

export const registerCommand: Command = {
  synopsis: `register NAME:VERSION ${storeSynopsis}`,
  summary:
    'Tell the site of an image that was made here, so that it can be released, and deposit its key, which the site hands out under leases.',
  run: async (args, out) => {
    const words = parse(args, storeWords, [1, 1])
    const reference = parseReference(words.positionals[0] ?? '')
    await using store = await openReader(storeAddress(words), await storeOptions(words))
    const { manifestBytes, oci } = await readClaimed(store, reference, out.signal)
    if ((await madeHere(reference)) !== oci.config.digest) {
      throw new ImagesError(
        'IMAGE_NOT_TRUSTED',
        `${formatReference(reference)} was not made by this account`,
        {
          remedy: 'Register it where it was imported.',
        },
      )
    }
    const call = await siteCall()
    const key = await imageKey(reference.name)
    const { keyId } = await call('POST', `/images/${reference.name}/key`, imageKeyAnswer, {
      key: Buffer.from(key).toString('base64url'),
    })
    const answer = z.strictObject({ manifestDigest: z.string() })
    const comparison = await compareWithRegistered(call, words, reference)
    const { manifestDigest } = await call('POST', '/images', answer, {
      ...reference,
      manifest: Buffer.from(manifestBytes).toString('base64url'),
      store: store.name,
      comparison,
    })
    out.result(
      { image: formatReference(reference), manifestDigest, keyId },
      () =>
        `The site knows ${formatReference(reference)}. Have it signed: trustcast image sign ${formatReference(reference)} --key FILE`,
    )
  },
}
