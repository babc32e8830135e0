import { callJson } from '#apps/site-client/call.ts'
import { type DataCopy, dataAnswer, withdrawAnswer } from '#core/api/data.ts'
import { uuid } from '#core/api/words.ts'
import { isOutside, protectionSentences } from '#core/data/index.ts'
import { usage } from '../cli-error.ts'
import { type Command, commandGroup, parse, table } from '../command.ts'
import { readLogin } from '../login-file.ts'

const list: Command = {
  synopsis: 'list [--all]',
  summary:
    'What endpoints hold and what was left on them, with what protects it (auditors); with --all also what runs in the data centre.',
  run: async (args, out) => {
    const words = parse(args, { all: { type: 'boolean' } }, [0, 0])
    const { site, credentials } = await readLogin()
    const all: DataCopy[] = []
    let next: string | undefined
    let at: string | undefined
    do {
      const path = `/api/v1/data${next === undefined ? '' : `?after=${next}`}`
      const answer = await callJson(site, { method: 'GET', path }, dataAnswer, credentials)
      all.push(...answer.copies)
      at ??= answer.at
      next = answer.next
    } while (next !== undefined)
    const copies = all.filter((copy) => words.flag('all') || isOutside(copy))
    out.result({ at, copies }, () => (copies.length === 0 ? 'No endpoint holds anything.' : inLines(copies)))
  },
}

const withdraw: Command = {
  synopsis: 'withdraw LEASE --reason TEXT',
  summary:
    'Take back what an endpoint holds under a lease (admins): its key is wiped and its session ends. The reason is for its person and for the log.',
  run: async (args, out) => {
    const words = parse(args, { reason: { type: 'string' } }, [1, 1])
    const { success, data: id } = uuid.safeParse(words.positionals[0])
    if (!success) throw usage('LEASE is the id that `trustcast lease list` shows')
    const reason = words.text('reason')?.trim() ?? ''
    if (reason === '') throw usage('--reason says why, to its person and to the log')
    const { site, credentials } = await readLogin()
    const request = { method: 'POST', path: `/api/v1/leases/${id}/withdraw`, body: { reason } }
    const answer = await callJson(site, request, withdrawAnswer, credentials)
    out.result(answer, () =>
      answer.state === 'ended'
        ? 'Withdrawn; its endpoint has confirmed that nothing can be read there any more.'
        : 'Withdrawn. Its endpoint has not confirmed it yet: see `trustcast lease list`.',
    )
  },
}

export const lease: Command = commandGroup('What endpoints hold under leases: list it, take it back.', {
  list: async () => list,
  withdraw: async () => withdraw,
})

function inLines(copies: readonly DataCopy[]): string {
  const rows = copies.map((copy) => [
    copy.id,
    copy.machine.name,
    copy.zone.name,
    copy.workspace.id,
    copy.person.login,
    copy.mode,
    copy.state,
    copy.until ?? '',
    protectionSentences(copy, (instant) => instant)[0] ?? '',
  ])
  return table(['LEASE', 'ON', 'ZONE', 'WORKSPACE', 'PERSON', 'MODE', 'STATE', 'UNTIL', 'PROTECTION'], rows)
}
