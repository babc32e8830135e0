import { join } from 'node:path'
import { pino } from 'pino'
import type { z } from 'zod'
import { gatewayConfig, runGateway } from '#apps/gateway/run-gateway.ts'
import { hostConfig } from '#apps/host/config.ts'
import { runHost } from '#apps/host/run-host.ts'
import { siteConfig } from '#apps/site/config.ts'
import { setupLink } from '#apps/site/first-start.ts'
import { runSite } from '#apps/site/run-site.ts'
import type { Site } from '#apps/site/site.ts'
import { isSupervised, supervisedSignal } from '#apps/up/supervisor.ts'
import { parseConfig } from '#core/config/parse-config.ts'
import { CliError, usage } from '../cli-error.ts'
import { type Command, type Output, type Parsed, parse } from '../command.ts'
import { readText } from '../read-text.ts'
import { replaceLostOf, replaceLostOption } from '../replace-lost.ts'
import { endpointDir } from '../this-endpoint.ts'
import { version } from '../version.ts'

/** Where `enroll` puts an identity when nothing else is said. */
export function agentStateDir(kind: 'host' | 'gateway' | 'endpoint'): string {
  return kind === 'endpoint' ? endpointDir() : join('/var/lib/trustcast', kind)
}

export const siteRole: Command = {
  synopsis: '--config FILE [--replace-lost KEY]…',
  summary: 'One node of a site: API, policy, broker, audit log. Any number share a database.',
  run: async (args, out) => {
    const words = parse(args, { ...configOption, ...replaceLostOption }, [0, 0])
    const config = await readConfig(words, siteConfig)
    const sayServing = (site: Site): void => {
      out.say(`serving ${config.url}`)
      if (!isSupervised()) void saySetupLink(site, out)
    }
    await runSite(config, supervisedSignal(out.signal), sayServing, replaceLostOf(words))
  },
}

async function saySetupLink(site: Site, out: Output): Promise<void> {
  try {
    const link = await setupLink(site)
    if (link !== undefined) out.say(`Create the first admin here, once: ${link}`)
  } catch (error) {
    site.log.error({ err: error }, 'the link for the first admin could not be made')
  }
}

export const gatewayRole: Command = {
  synopsis: '--config FILE',
  summary: 'A gateway: joins people to hosts and sees only ciphertext.',
  run: async (args, out) => {
    const config = await readConfig(parse(args, configOption, [0, 0]), gatewayConfig)
    await runGateway(
      { config, version: version(), log: pino({ name: 'gateway' }) },
      supervisedSignal(out.signal),
    )
  },
}

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

const configOption = { config: { type: 'string' } } as const

async function readConfig<T>(words: Parsed, schema: z.ZodType<T>): Promise<T> {
  const file = words.text('config')
  if (file === undefined) throw usage('--config is missing')
  return parseConfig(await readText(file), schema, file)
}
