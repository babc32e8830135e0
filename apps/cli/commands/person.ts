import { z } from 'zod'
import { type Credentials, callJson, type SiteAddress } from '#apps/site-client/call.ts'
import {
  explainAnswer,
  type SessionView,
  sessionsAnswer,
  sessionView,
  workspaceView,
} from '#core/api/person.ts'
import { type DecisionView, uuid } from '#core/api/words.ts'
import { usage } from '../cli-error.ts'
import { type Command, parse, table } from '../command.ts'
import { readLogin } from '../login-file.ts'
import { atThisEndpoint } from '../this-endpoint.ts'

export const list: Command = {
  synopsis: '',
  summary:
    'The workspaces that your trust allows, how each would be delivered, and what would unlock the rest.',
  run: async (args, out) => {
    parse(args, {}, [0, 0])
    const { site, credentials } = await atThisEndpoint(await readLogin())
    const schema = z.strictObject({ workspaces: z.array(workspaceView) })
    const answer = await callJson(site, { method: 'GET', path: '/api/v1/workspaces' }, schema, credentials)
    out.result(answer, () =>
      answer.workspaces.length === 0
        ? 'No workspace is open to you. Ask an admin.'
        : table(
            ['WORKSPACE', 'NAME', 'DELIVERY', 'NOTE'],
            answer.workspaces.map(({ id, name, decision }) => [id, name, ...inWords(decision)]),
          ),
    )
  },
}

export const sessions: Command = {
  synopsis: '[--all]',
  summary: 'Your running sessions; with --all everybody’s (admins and auditors).',
  run: async (args, out) => {
    const words = parse(args, { all: { type: 'boolean' } }, [0, 0])
    const { site, credentials } = await readLogin()
    const answer = words.flag('all')
      ? { sessions: await everybodysSessions(site, credentials) }
      : await callJson(
          site,
          { method: 'GET', path: '/api/v1/sessions' },
          z.strictObject({ sessions: z.array(sessionView) }),
          credentials,
        )
    out.result(answer, () =>
      answer.sessions.length === 0
        ? 'Nothing runs.'
        : table(
            ['SESSION', 'WORKSPACE', 'PERSON', 'RUNS ON', 'STATE', 'SINCE'],
            answer.sessions.map((one) => [
              one.id,
              one.workspace.id,
              one.person.login,
              (one.host ?? one.endpoint)?.name ?? '',
              one.connected ? `${one.state}, connected` : one.state,
              one.startedAt,
            ]),
          ),
    )
  },
}

/** Page by page, to the last. */
async function everybodysSessions(
  site: SiteAddress,
  credentials: Credentials,
): Promise<readonly SessionView[]> {
  const sessions: SessionView[] = []
  let after: string | undefined
  do {
    const query = new URLSearchParams({ limit: '200', ...(after === undefined ? {} : { after }) })
    const path = `/api/v1/admin/sessions?${String(query)}`
    const page = await callJson(site, { method: 'GET', path }, sessionsAnswer, credentials)
    sessions.push(...page.sessions)
    after = page.next
  } while (after !== undefined)
  return sessions
}

export const end: Command = {
  synopsis: 'SESSION',
  summary: 'End a session and everything in it.',
  run: async (args, out) => {
    const { positionals } = parse(args, {}, [1, 1])
    const { site, credentials } = await readLogin()
    const { success, data: id } = uuid.safeParse(positionals[0])
    if (!success) throw usage('SESSION is the id that `trustcast sessions` shows')
    const path = `/api/v1/sessions/${id}`
    const session = await callJson(site, { method: 'DELETE', path }, sessionView, credentials)
    out.result(session, () => `Ended ${session.workspace.name}.`)
  },
}

export const explain: Command = {
  synopsis: 'WORKSPACE [--user LOGIN] [--endpoint ENDPOINT] [--from ADDRESS]',
  summary: 'The decision a launch would get, why, and what would unlock better.',
  run: async (args, out) => {
    const words = parse(
      args,
      { user: { type: 'string' }, endpoint: { type: 'string' }, from: { type: 'string' } },
      [1, 1],
    )
    const { site, credentials } = await atThisEndpoint(await readLogin())
    const query = new URLSearchParams({ workspace: words.positionals[0] ?? '' })
    for (const name of ['user', 'endpoint', 'from']) {
      const value = words.text(name)
      if (value !== undefined) query.set(name, value)
    }
    const answer = await callJson(
      site,
      { method: 'GET', path: `/api/v1/explain?${query.toString()}` },
      explainAnswer,
      credentials,
    )
    out.result(answer, () => answer.lines.join('\n'))
  },
}

function inWords({ outcome, refused }: DecisionView): readonly [string, string] {
  if (outcome !== undefined) {
    const withheld = outcome.restrictions.map((one) => `no ${one.right}`).join(', ')
    return [outcome.mode, withheld]
  }
  const [first] = refused
  return [
    'refused',
    first?.unlocks[0]?.changes.map((change) => change.remedy).join('; ') ?? first?.reason ?? '',
  ]
}
