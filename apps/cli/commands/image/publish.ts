import { publicationAnswer, releasesView } from '#core/api/releases.ts'
import { CliError, usage } from '../../cli-error.ts'
import { type Command, parse } from '../../command.ts'
import { type Call, channelOf, type Meant, parseMeant, readReleases, siteCall } from './site-releases.ts'

export const publishCommand: Command = {
  synopsis: 'publish NAME:VERSION|root|targets|NAME… [--channel test|production]',
  summary:
    'Publish what is signed: from now on endpoints can read it. What must take effect together is named together. With --channel the release also goes to everybody of that channel.',
  run: async (args, out) => {
    const words = parse(args, { channel: { type: 'string' } }, [1, 100])
    const meant = words.positionals.map(parseMeant)
    const channel = channelOf(words)
    const [first] = meant
    if (channel !== undefined && (meant.length > 1 || first?.version === undefined)) {
      throw usage('--channel is for one NAME:VERSION')
    }
    const call = await siteCall()
    for (const one of meant) await requireMeant(call, one)
    const roles = meant.map(({ role }) => role)
    const { published } = await call('POST', '/releases/publications', publicationAnswer, { roles })
    if (channel !== undefined && first !== undefined) {
      const path = `/releases/images/${first.role}/channels/${channel}`
      await call('PUT', path, releasesView, { version: first.version })
    }
    out.result({ published, ...(channel === undefined ? {} : { channel }) }, () =>
      [
        `Published: ${published.map(({ role, version }) => `${role} ${version}`).join(', ')}`,
        ...(channel === undefined
          ? []
          : [`Everybody of the channel ${channel} gets ${words.positionals[0]}.`]),
      ].join('\n'),
    )
  },
}

/** Publishing `NAME:VERSION` must not publish something else that happens to await it. */
async function requireMeant(call: Call, { role, version }: Meant): Promise<void> {
  if (version === undefined) return
  const { proposals, images } = await readReleases(call)
  const proposal = proposals.find((one) => one.role === role)
  if (proposal?.adds.some((added) => added.version === version)) return
  const isPublished = images.some(
    ({ name, releases }) => name === role && releases.some((release) => release.version === version),
  )
  if (isPublished) {
    throw new CliError('CLI_OTHER_PROPOSAL', `${role}:${version} is published already`, {
      remedy: `Point a channel at it: trustcast image promote ${role}:${version} --channel test|production`,
    })
  }
  throw new CliError('CLI_OTHER_PROPOSAL', `no release of ${role}:${version} awaits to be published`, {
    remedy: 'See what does: trustcast image releases',
  })
}
