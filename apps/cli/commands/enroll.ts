import { parseToken } from '#adapters/pki-x509/index.ts'
import { enrolAgent } from '#apps/agent-client/index.ts'
import { usage } from '../cli-error.ts'
import { type Command, parse } from '../command.ts'
import { siteUrl } from '../site-url.ts'
import { agentStateDir } from './roles.ts'

export const enroll: Command = {
  synopsis: 'URL --token TOKEN [--host | --gateway] [--state DIR]',
  summary:
    'Make this machine a host, a gateway or an endpoint of a site: the token says which. It comes from the console, works once, and names the site’s authority.',
  run: async (args, out) => {
    const words = parse(
      args,
      {
        token: { type: 'string' },
        host: { type: 'boolean' },
        gateway: { type: 'boolean' },
        state: { type: 'string' },
      },
      [1, 1],
    )
    const token = words.text('token')
    if (token === undefined)
      throw usage('--token is missing: make one in the console, under Hosts or Endpoints')
    const { kind } = parseToken(token)
    for (const other of ['host', 'gateway'] as const)
      if (words.flag(other) && other !== kind)
        throw usage(`the token makes this machine a ${kind}, not a ${other}`)
    const dir = words.text('state') ?? agentStateDir(kind)
    const url = siteUrl(words.positionals[0] ?? '')
    const { id } = await enrolAgent({ url, token, dir, kind })
    out.result({ id, kind, state: dir }, () =>
      kind === 'endpoint'
        ? `This machine is endpoint ${id}.\nKeep it so with: trustcast endpoint --state ${dir}`
        : `This machine is ${kind} ${id}.\nStart it with: trustcast ${kind} --config FILE, where FILE says \`state: ${dir}\` (docs/configuration.md has an example).`,
    )
  },
}
