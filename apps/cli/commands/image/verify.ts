import type { OpenedImage } from '#core/artifact/index.ts'
import { formatReference } from '#core/blobs/index.ts'
import { type Command, parse } from '../../command.ts'
import { type Progress, progressLine } from '../../progress.ts'
import { openNamed, openSynopsis, openWords } from './open-words.ts'
import { sizeText } from './store-options.ts'

const pieceBytes = 4_194_304
const parallel = 8

export const verifyCommand: Command = {
  synopsis: `verify NAME:VERSION ${openSynopsis}`,
  summary:
    'Read all of an image from its store and compare every chunk, and the boot trace, with what they must be.',
  run: async (args, out) => {
    const words = parse(args, openWords, [1, 1])
    const { reference, digest, image } = await openNamed(words, words.positionals[0] ?? '')
    await using opened = image
    using progress = progressLine()
    // Nothing but a boot would read it.
    await opened.trace()
    const bytes = await readAll(opened, progress, out.signal)
    const { bytesFetched } = opened.counts
    out.result(
      { image: formatReference(reference), manifest: digest, verifiedBytes: bytes, bytesFetched },
      () =>
        `${formatReference(reference)} is whole: ${sizeText(bytes)} verified, ${sizeText(bytesFetched)} read from the store`,
    )
  },
}

/** @returns bytes of the disk that are no zeros */
async function readAll(
  { device, manifest }: OpenedImage,
  progress: Progress,
  signal: AbortSignal,
): Promise<number> {
  let bytes = 0
  let next = 0
  const work = async (): Promise<void> => {
    while (next < manifest.sizeBytes) {
      signal.throwIfAborted()
      const at = next
      next += pieceBytes
      const length = Math.min(pieceBytes, manifest.sizeBytes - at)
      const extents = await device.extents(BigInt(at), length)
      const data = extents.reduce((sum, extent) => sum + (extent.kind === 'data' ? extent.length : 0), 0)
      if (data > 0) await device.read(BigInt(at), length, signal)
      bytes += data
      progress.show(`${Math.floor((at / manifest.sizeBytes) * 100)} % verified`)
    }
  }
  await Promise.all(Array.from({ length: parallel }, work))
  return bytes
}
