import { pino } from 'pino'
import { hostConfig } from '#apps/host/config.ts'
import { runHost } from '#apps/host/run-host.ts'
import { supervisedSignal } from '#apps/up/supervisor.ts'
import { CliError } from '../cli-error.ts'
import { type Command, parse } from '../command.ts'
import { configOption, readConfig } from '../read-config.ts'
import { version } from '../version.ts'

export const hostRole: Command = {
  synopsis: '--config FILE',
  summary:
    'The agent of a machine that runs sessions. Dials out to the site and its gateways; listens to nobody.',
  run: async (args, out) => {
    const { state, run, homes, ...rest } = await readConfig(parse(args, configOption, [0, 0]), hostConfig)
    if (process.getuid?.() !== 0) {
      throw new CliError(
        'CLI_NEEDS_ROOT',
        'sessions run as the operating-system users of people, which only root can make',
        { remedy: 'Run it with sudo.' },
      )
    }
    const config = {
      ...rest,
      stateDir: state,
      runDir: run,
      homesDir: homes,
      version: version(),
      log: pino({ name: 'host' }),
    }
    await runHost(config, supervisedSignal(out.signal))
  },
}
