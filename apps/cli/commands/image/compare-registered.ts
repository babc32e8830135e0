import { z } from 'zod'
import { madeHere } from '#apps/images/key-ring.ts'
import { comparedCells, type ImageComparison, imageView } from '#core/api/releases.ts'
import { diffImages, diskCells } from '#core/artifact/index.ts'
import { formatReference, type ImageReference } from '#core/blobs/index.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import type { Parsed } from '../../command.ts'
import { openNamed } from './open-words.ts'
import type { Call } from './site-releases.ts'

/**
 * What a version shares with the newest other one of its family that the site knows and this account can open. Only Merkle
 * trees are read.
 *
 * @returns undefined when there is none, or the site knows the version already
 */
export async function compareWithRegistered(
  call: Call,
  words: Parsed,
  reference: ImageReference,
): Promise<ImageComparison | undefined> {
  const { images } = await call('GET', '/images', z.object({ images: z.array(imageView) }))
  const family = images.filter(({ name }) => name === reference.name)
  if (family.some(({ version }) => version === reference.version)) return undefined
  for (const { name, version, manifestDigest } of family) {
    if ((await madeHere({ name, version })) !== `sha256:${manifestDigest}`) continue
    const comparison = await compare(words, { name, version }, reference)
    if (comparison !== undefined) return comparison
  }
  return undefined
}

/** A picture is no reason for an image not to be registered: what cannot be read is left out. */
async function compare(
  words: Parsed,
  older: ImageReference,
  newer: ImageReference,
): Promise<ImageComparison | undefined> {
  try {
    const { image } = await openNamed(words, formatReference(newer))
    await using now = image
    const { image: before } = await openNamed(words, formatReference(older))
    await using _ = before
    const { sizeBytes } = now.manifest
    const cells = diskCells(sizeBytes, comparedCells)
    const { sameBytes, changedBytes, clearedBytes, changedStoredBytes } = await diffImages(
      before,
      now,
      cells.mark,
    )
    const bytes = { sizeBytes, sameBytes, changedBytes, clearedBytes, changedStoredBytes }
    return { against: older.version, ...bytes, cells: cells.text() }
  } catch (error) {
    if (isCoded(error)) return undefined
    throw error
  }
}
