import { pino } from 'pino'
import { runEndpoint } from '#apps/endpoint/run-endpoint.ts'
import { supervisedSignal } from '#apps/up/supervisor.ts'
import { usage } from '../cli-error.ts'
import { type Command, type Output, type Parsed, parse } from '../command.ts'
import { endpointDir } from '../this-endpoint.ts'
import { version } from '../version.ts'
import { backgroundRate, storeOptions } from './image/store-options.ts'

const options = {
  state: { type: 'string' },
  site: { type: 'string' },
  port: { type: 'string' },
  as: { type: 'string' },
  group: { type: 'string' },
  network: { type: 'boolean' },
  'no-report': { type: 'boolean' },
  'store-ca': { type: 'string' },
  'background-rate': { type: 'string' },
  root: { type: 'string' },
} as const

export const endpointRole: Command = {
  synopsis:
    '[install | uninstall] [--state DIR] [--site URL] [--port N] [--as ACCOUNT] [--group GROUP] [--network] [--no-report] [--store-ca FILE] [--background-rate SIZE]',
  summary:
    'The service of a machine that people sit at: keeps its certificate renewed and its site informed of what it sees of itself (`trustcast posture`), and opens what a portal on this machine hands over, as whoever asked or as ACCOUNT. With --no-report it tells the site nothing, and counts as silent. Dials out; listens on 127.0.0.1 alone, for pages of its site. With install it becomes a systemd service and answers trustcast:// addresses.',
  run: async (args, out) => {
    const words = parse(args, options, [0, 1])
    const [verb] = words.positionals
    if (verb === undefined) return runService(words, out)
    const { install, uninstall } = await import('../install-endpoint.ts')
    const root = words.text('root') ?? '/'
    if (verb === 'install') return install({ root, options: optionsOf(words) }, out)
    if (verb === 'uninstall') return uninstall({ root }, out)
    throw usage(`expected install or uninstall, got ${JSON.stringify(verb)}`)
  },
}

async function runService(words: Parsed, out: Output): Promise<void> {
  const log = pino({ name: 'endpoint' })
  const service = {
    dir: words.text('state') ?? endpointDir(),
    version: version(),
    log,
    site: words.text('site'),
    port: portOf(words.text('port')),
    account: words.text('as'),
    group: words.text('group'),
    network: words.flag('network'),
    isSilent: words.flag('no-report'),
    storeOptions: await storeOptions(words),
    backgroundBytesPerSecond: backgroundRate(words),
  }
  await runEndpoint(service, supervisedSignal(out.signal))
}

/** What the installed service shall be started with: the same words. */
function optionsOf(words: Parsed): readonly string[] {
  const named = ['state', 'site', 'port', 'as', 'group', 'store-ca', 'background-rate'] as const
  portOf(words.text('port'))
  backgroundRate(words)
  const flags = ['network', 'no-report'].filter((name) => words.flag(name)).map((name) => `--${name}`)
  const given = named.flatMap((name) => {
    const value = words.text(name)
    if (value === undefined) return []
    if (!/^[\w./:@-]+$/.test(value)) throw usage(`--${name} has letters that a service file cannot hold`)
    return [`--${name}`, value]
  })
  return [...given, ...flags]
}

function portOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN
  if (!(port <= 65_535)) throw usage('--port is a number up to 65535')
  return port
}
