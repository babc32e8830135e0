import { diffImages, type ImageDiff } from '#core/artifact/index.ts'
import { formatReference, parseReference } from '#core/blobs/index.ts'
import { type Partition, readPartitions } from '#core/partition/index.ts'
import { type Command, parse, table } from '../../command.ts'
import { openNamed, openSynopsis, openWords } from './open-words.ts'
import { sizeText } from './store-options.ts'

export const diffCommand: Command = {
  synopsis: `diff NAME:OLDER NAME:NEWER ${openSynopsis}`,
  summary:
    'What a version changes: bytes of the disk, partition by partition, and how much of it a store must have anew.',
  run: async (args, out) => {
    const words = parse(args, openWords, [2, 2])
    const [olderName = '', newerName = ''] = words.positionals
    const { image: older } = await openNamed(words, olderName)
    await using _ = older
    const { image: newer } = await openNamed(words, newerName)
    await using opened = newer
    const diff = await diffImages(older, opened)
    const { scheme, partitions } = await readPartitions(opened.device)
    const byPartition = partitions.map((partition) => ({
      ...describe(partition),
      changedBytes: changedIn(diff, partition),
    }))
    out.result(
      {
        older: formatReference(parseReference(olderName)),
        newer: formatReference(parseReference(newerName)),
        ...diff,
        scheme,
        partitions: byPartition,
      },
      () => {
        const rows = byPartition.map(({ number, type, sizeBytes, changedBytes }) => [
          String(number),
          type,
          sizeText(sizeBytes),
          sizeText(changedBytes),
        ])
        return [
          `${sizeText(diff.changedBytes)} changed, ${sizeText(diff.clearedBytes)} cleared, ${sizeText(diff.sameBytes)} the same`,
          `${sizeText(diff.changedStoredBytes)} stored for what changed`,
          ...(rows.length === 0 ? [] : [table(['partition', 'type', 'size', 'changed'], rows)]),
        ].join('\n')
      },
    )
  },
}

function describe({ number, type, sizeBytes, offset, name }: Partition) {
  return {
    number,
    type: name === undefined ? type : `${type} (${name})`,
    offset: Number(offset),
    sizeBytes: Number(sizeBytes),
  }
}

function changedIn({ ranges }: ImageDiff, { offset, sizeBytes }: Partition): number {
  const [start, end] = [Number(offset), Number(offset) + Number(sizeBytes)]
  return ranges.reduce((sum, range) => {
    const overlap = Math.min(end, range.offset + range.length) - Math.max(start, range.offset)
    return sum + Math.max(0, overlap)
  }, 0)
}
