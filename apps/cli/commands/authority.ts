import { join, resolve } from 'node:path'
import { openAuthority, renewIntermediate } from '#adapters/pki-x509/index.ts'
import { type Command, commandGroup, parse } from '../command.ts'

export const authority: Command = commandGroup("The site's certificate authority.", {
  renew: async () => renewCommand,
})

const renewCommand: Command = {
  synopsis: 'renew [FOLDER] [--state DIR]',
  summary:
    'Make a new intermediate certificate for a year; needs root.key, in FOLDER when it is kept offline. A node that runs on DIR (/var/lib/trustcast) begins to use it within a minute.',
  run: async (args, out) => {
    const words = parse(args, { state: { type: 'string' } }, [0, 1])
    const [folder] = words.positionals
    const dir = join(resolve(words.text('state') ?? '/var/lib/trustcast'), 'pki')
    await renewIntermediate({
      dir,
      ...(folder === undefined ? {} : { keyDir: resolve(folder) }),
      now: Date.now(),
    })
    const { siteId, intermediateNotAfter } = await openAuthority(dir)
    const until = new Date(intermediateNotAfter).toISOString()
    out.result({ siteId, until }, () =>
      [
        `The intermediate certificate in ${dir} is good until ${until.slice(0, 10)}.`,
        'A node that runs begins to use it within a minute; one that has ended can be started again.',
        'Nodes with a folder of their own need the new intermediate.pem, too.',
      ].join('\n'),
    )
  },
}
