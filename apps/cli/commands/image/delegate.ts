import { type Command, parse } from '../../command.ts'
import { keySetOf, parseMeant, proposeAndTell } from './site-releases.ts'

export const delegateCommand: Command = {
  synopsis: 'delegate NAME PUBLICFILE… --threshold N',
  summary: 'Propose whose keys sign the releases of an image. It takes effect once `targets` is signed.',
  run: async (args, out) => {
    const words = parse(args, { threshold: { type: 'string' } }, [2, 31])
    const [name = '', ...files] = words.positionals
    const { role } = parseMeant(name)
    await proposeAndTell(`/releases/images/${role}/keys`, await keySetOf(words, 'threshold', files), out)
  },
}
