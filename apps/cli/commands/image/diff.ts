import { formatReference, parseReference } from '#core/blobs/index.ts'
import { type Command, parse } from '../../command.ts'
import { openNamed, openSynopsis, openWords } from './open-words.ts'
import { changesBetween, changesText } from './partition-changes.ts'

export const diffCommand: Command = {
  synopsis: `diff NAME:OLDER NAME:NEWER ${openSynopsis}`,
  summary:
    'What a version changes: bytes of the disk, partitions, files where they can be read, and how much of it a store must have anew.',
  run: async (args, out) => {
    const words = parse(args, openWords, [2, 2])
    const [olderName = '', newerName = ''] = words.positionals
    const { image: older } = await openNamed(words, olderName)
    await using _ = older
    const { image: newer } = await openNamed(words, newerName)
    await using opened = newer
    const changes = await changesBetween(older, opened, out.signal)
    const { diff, ...parts } = changes
    out.result(
      {
        older: formatReference(parseReference(olderName)),
        newer: formatReference(parseReference(newerName)),
        ...diff,
        ...parts,
      },
      () => changesText(changes).join('\n'),
    )
  },
}
