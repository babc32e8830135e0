import { openFolder } from '#apps/images/open-store.ts'
import { parseReference } from '#core/blobs/index.ts'
import { usage } from '../../cli-error.ts'
import { type Command, parse } from '../../command.ts'
import { sizeText, storeAddress } from './store-options.ts'

const defaultGraceHours = 24

export const gcCommand: Command = {
  synopsis: `gc [NAME:VERSION…] [--store FOLDER] [--grace HOURS]`,
  summary: `Take the names of images away, and delete what no image needs. What was used within the last ${defaultGraceHours} hours stays, and so does what a disk is attached from on this machine.`,
  run: async (args, out) => {
    const words = parse(args, { store: { type: 'string' }, grace: { type: 'string' } }, [0, 1000])
    const hours = Number(words.text('grace') ?? defaultGraceHours)
    if (!(hours >= 0)) throw usage('--grace is a number of hours')
    await using store = await openFolder(storeAddress(words))
    for (const name of words.positionals) {
      const reference = parseReference(name)
      if (await store.untag(reference, out.signal)) out.say(`${name} has no name any more`)
      else out.say(`there is no ${name}`)
    }
    const collected = await store.collect({ graceMs: hours * 3_600_000, now: Date.now(), signal: out.signal })
    out.result(
      collected,
      () =>
        `${collected.deleted} blobs deleted, ${sizeText(collected.freedBytes)} freed; ${collected.needed} are needed, ${collected.young} too young`,
    )
  },
}
