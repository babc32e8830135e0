import { pino } from 'pino'
import { gatewayConfig, runGateway } from '#apps/gateway/run-gateway.ts'
import { supervisedSignal } from '#apps/up/supervisor.ts'
import { type Command, parse } from '../command.ts'
import { configOption, readConfig } from '../read-config.ts'
import { version } from '../version.ts'

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
