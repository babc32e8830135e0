import { releasesView } from '#core/api/releases.ts'
import { usage } from '../../cli-error.ts'
import { type Command, parse } from '../../command.ts'
import { channelText } from './releases.ts'
import {
  type Call,
  channelOf,
  type Meant,
  parseMeant,
  readReleases,
  siteCall,
  wholeNumber,
} from './site-releases.ts'

export const promoteCommand: Command = {
  synopsis: 'promote NAME:VERSION --channel test|production [--percent N] [--canary GROUP]… [--endpoint ID]…',
  summary:
    'Point a channel at a release: for everybody, or first for canaries and a percentage of the others, which later calls let grow. At 100 percent it is everybody’s.',
  run: async (args, out) => {
    const words = parse(
      args,
      {
        channel: { type: 'string' },
        percent: { type: 'string' },
        canary: { type: 'string', multiple: true },
        endpoint: { type: 'string', multiple: true },
      },
      [1, 1],
    )
    const { role, version } = parseMeant(words.positionals[0] ?? '')
    const channel = channelOf(words)
    if (version === undefined || channel === undefined) throw usage('expected NAME:VERSION and --channel')
    const [groups, endpoints, percent] = [words.list('canary'), words.list('endpoint'), words.text('percent')]
    const isWave = percent !== undefined || groups.length + endpoints.length > 0
    const said = percent === undefined ? undefined : wholeNumber(percent, 'percent', 0, 100)
    const call = await siteCall()
    const share = said ?? (isWave ? await shareSoFar(call, { role, version }, channel) : 0)
    const wave = isWave ? { groups, endpoints, percent: share } : undefined
    const path = `/releases/images/${role}/channels/${channel}`
    const { images } = await call('PUT', path, releasesView, { version, wave })
    const state = images.find(({ name }) => name === role)?.channels.find((one) => one.channel === channel)
    out.result(state, () => (state === undefined ? '' : channelText(role, state)))
  },
}

/** Who is added to a wave takes nothing from those who have the release already. */
async function shareSoFar(call: Call, { role, version }: Meant, channel: string): Promise<number> {
  const { images } = await readReleases(call)
  const channels = images.find(({ name }) => name === role)?.channels ?? []
  const next = channels.find((one) => one.channel === channel)?.next
  return next !== undefined && next.version === version ? next.wave.percent : 0
}
