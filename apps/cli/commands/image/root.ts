import { type Command, parse } from '../../command.ts'
import { keySetOf, proposeAndTell } from './site-releases.ts'

export const rootCommand: Command = {
  synopsis: 'root PUBLICFILE… --threshold N [--targets PUBLICFILE… --targets-threshold N]',
  summary:
    'Propose who signs: the root itself, and (the same people, unless --targets names others) which keys sign which image. It takes effect once it is signed, after the first by the old and the new keys.',
  run: async (args, out) => {
    const words = parse(
      args,
      {
        threshold: { type: 'string' },
        targets: { type: 'string', multiple: true },
        'targets-threshold': { type: 'string' },
      },
      [1, 30],
    )
    const root = await keySetOf(words, 'threshold', words.positionals)
    const others = words.list('targets')
    const targets = others.length === 0 ? undefined : await keySetOf(words, 'targets-threshold', others)
    await proposeAndTell('/releases/root', { root, targets }, out)
  },
}
