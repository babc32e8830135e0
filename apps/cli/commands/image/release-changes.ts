import { openReader } from '#apps/images/open-store.ts'
import { openTrusted } from '#apps/images/trusted-image.ts'
import { noCache, type OpenedImage } from '#core/artifact/index.ts'
import { parseDigest, parseReference } from '#core/blobs/index.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import type { Parsed } from '../../command.ts'
import { printable } from '../../printable.ts'
import type { Release } from './describe-proposal.ts'
import { changesBetween, changesText } from './partition-changes.ts'
import { storeAddress, storeOptions } from './store-options.ts'

const memoryBytes = 67_108_864

/**
 * What a release changes inside the disk, partition by partition.
 *
 * @param words of `storeWords`
 * @param added whose digest is in what is to be signed
 * @param previous whose digest is in what was signed before
 * @returns lines for people; when this account cannot open both, such as without the image's key, why
 */
export async function releaseChanges(
  words: Parsed,
  added: Release,
  previous: Release,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const inside = `  inside, since ${previous.path}:`
  try {
    await using older = await open(words, previous)
    await using newer = await open(words, added)
    const lines = changesText(await changesBetween(older, newer, signal))
    return [inside, ...lines.map((line) => `    ${line}`)]
  } catch (error) {
    // A signer must see that there is something that was not seen.
    if (isCoded(error)) return [`${inside} cannot be shown: ${error.code}: ${printable(error.message)}`]
    throw error
  }
}

async function open(words: Parsed, { content, manifestDigest }: Release): Promise<OpenedImage> {
  const store = await openReader(storeAddress(words), await storeOptions(words))
  const digest = parseDigest(`sha256:${manifestDigest}`)
  const reference = parseReference(content.replace('/', ':'))
  return openTrusted(reference, digest, [store], { cache: noCache, memoryBytes })
}
