import { z } from 'zod'
import { proposalView } from '#core/api/releases.ts'
import { usage } from '../../cli-error.ts'
import { type Command, parse } from '../../command.ts'
import { parseMeant, proposalText, siteCall } from './site-releases.ts'

export const retireCommand: Command = {
  synopsis: 'retire NAME:VERSION',
  summary: 'Propose to take an old release off the list. The newest stays: it carries the counter.',
  run: async (args, out) => {
    const { role, version } = parseMeant(parse(args, {}, [1, 1]).positionals[0] ?? '')
    if (version === undefined) throw usage('expected NAME:VERSION')
    const call = await siteCall()
    const made = await call('POST', `/releases/images/${role}/retirements`, proposalView, { version })
    out.result(made, () => proposalText(made))
  },
}

export const renewCommand: Command = {
  synopsis: 'renew targets|NAME',
  summary: 'Propose the same again for longer, before its time is up: half a year.',
  run: async (args, out) => {
    const { role } = parseMeant(parse(args, {}, [1, 1]).positionals[0] ?? '')
    const made = await (await siteCall())('POST', `/releases/proposals/${role}/renewal`, proposalView)
    out.result(made, () => proposalText(made))
  },
}

export const withdrawCommand: Command = {
  synopsis: 'withdraw root|targets|NAME',
  summary: 'Drop what awaits signatures, with the signatures that it has.',
  run: async (args, out) => {
    const { role } = parseMeant(parse(args, {}, [1, 1]).positionals[0] ?? '')
    await (await siteCall())('DELETE', `/releases/proposals/${role}`, z.strictObject({}))
    out.result({ role }, () => `What awaited signatures of ${role} was dropped.`)
  },
}
