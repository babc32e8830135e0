import { pino } from 'pino'
import { beaconConfig, runBeacon } from '#apps/beacon/run-beacon.ts'
import { parseConfig } from '#core/config/parse-config.ts'
import { usage } from '../cli-error.ts'
import { type Command, parse } from '../command.ts'
import { readText } from '../read-text.ts'

export const beacon: Command = {
  synopsis: '--config FILE',
  summary: 'A beacon that stands in a network and proves to the site which of its endpoints are near.',
  run: async (args, out) => {
    const file = parse(args, { config: { type: 'string' } }, [0, 0]).text('config')
    if (file === undefined) throw usage('--config is missing')
    const config = parseConfig(await readText(file), beaconConfig, file)
    await runBeacon(
      {
        config,
        log: pino({ name: 'beacon' }),
        onReady: ({ port, key }) => out.say(`serving on port ${port}; its key for the zone is ${key}`),
      },
      out.signal,
    )
  },
}
