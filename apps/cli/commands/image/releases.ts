import type { ReleasesView } from '#core/api/releases.ts'
import { type Command, parse, table } from '../../command.ts'
import { proposalText, readReleases, siteCall } from './site-releases.ts'

export const releasesCommand: Command = {
  synopsis: 'releases [NAME]',
  summary: 'Who signs, what is released, what awaits signatures, and where channels point.',
  run: async (args, out) => {
    const [name] = parse(args, {}, [0, 1]).positionals
    const all = await readReleases(await siteCall())
    const shown = name === undefined ? all : only(all, name)
    out.result(shown, () => textOf(shown))
  },
}

type Image = ReleasesView['images'][number]
type Channel = Image['channels'][number]

/** Where a channel points, for people. */
export function channelText(name: string, { channel, current, next }: Channel): string {
  const first = next?.wave.groups.concat(next.wave.endpoints) ?? []
  const canaries = first.length === 0 ? '' : ` and first ${first.join(', ')}`
  const wave = next === undefined ? '' : `, ${next.wave.percent} %${canaries} get ${next.version}`
  return `${name}, ${channel}: ${current}${wave}`
}

function only(all: ReleasesView, name: string): ReleasesView {
  return {
    ...all,
    images: all.images.filter((image) => image.name === name),
    proposals: all.proposals.filter(({ role }) => role === name),
    unreleased: all.unreleased.filter((image) => image.name === name),
  }
}

function textOf({ root, targets, images, proposals, unreleased }: ReleasesView): string {
  if (root === undefined && proposals.length === 0) {
    return 'Nobody has said yet who signs. Begin with: trustcast image root PUBLICFILE… --threshold N'
  }
  return [
    ...rolesText([
      ...(root ? [{ name: 'root', ...root }] : []),
      ...(targets ? [{ name: 'targets', ...targets }] : []),
      ...images,
    ]),
    ...images.filter(({ releases }) => releases.length > 0).map(imageText),
    ...images.flatMap(({ name, channels }) => channels.map((channel) => channelText(name, channel))),
    ...(proposals.length === 0
      ? []
      : ['Awaiting signatures or publication:', ...proposals.map(proposalText)]),
    ...(unreleased.length === 0
      ? []
      : ['Not released:', ...unreleased.map(({ name, version }) => `  ${name}:${version}`)]),
  ].join('\n\n')
}

type Role = NonNullable<ReleasesView['root']> & { readonly name: string }

function rolesText(roles: readonly Role[]): readonly string[] {
  if (roles.length === 0) return []
  const rows = roles.map(({ name, threshold, keys, expiresAt }) => [
    name,
    `${threshold} of ${keys.length}`,
    keys.map((key) => key.name).join(', '),
    expiresAt ?? 'not published',
  ])
  return [table(['signed by', 'must sign', 'keys', 'good until'], rows)]
}

function imageText({ name, releases }: Image): string {
  return table(
    ['release', 'number', 'image', 'published'],
    releases.map(({ version, contentVersion, counter, publishedAt }) => [
      `${name}:${version}`,
      String(counter),
      contentVersion === version ? 'its own' : `again ${contentVersion}`,
      publishedAt,
    ]),
  )
}
