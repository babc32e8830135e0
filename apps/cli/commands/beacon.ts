import { pino } from 'pino'
import { beaconConfig, runBeacon } from '#apps/beacon/run-beacon.ts'
import { type Command, parse } from '../command.ts'
import { configOption, readConfig } from '../read-config.ts'

export const beacon: Command = {
  synopsis: '--config FILE',
  summary: 'A beacon that stands in a network and proves to the site which of its endpoints are near.',
  run: async (args, out) => {
    const config = await readConfig(parse(args, configOption, [0, 0]), beaconConfig)
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
