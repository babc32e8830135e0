import { proposalView } from '#core/api/releases.ts'
import { usage } from '../../cli-error.ts'
import { type Command, parse } from '../../command.ts'
import { parseMeant, proposalText, siteCall } from './site-releases.ts'

export const rollbackCommand: Command = {
  synopsis: 'rollback NAME --to VERSION [--as VERSION]',
  summary:
    'Propose to release an older image anew. Like every release it is signed, published and promoted; endpoints take it because it is newer than what they have.',
  run: async (args, out) => {
    const words = parse(args, { to: { type: 'string' }, as: { type: 'string' } }, [1, 1])
    const { role } = parseMeant(words.positionals[0] ?? '')
    const to = words.text('to')
    if (to === undefined) throw usage('expected --to VERSION')
    const call = await siteCall()
    const body = { to, as: words.text('as') }
    const made = await call('POST', `/releases/images/${role}/rollbacks`, proposalView, body)
    out.result(made, () => proposalText(made))
  },
}
