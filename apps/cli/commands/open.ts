import { parseLaunchUrl } from '#core/handoff/index.ts'
import { CliError } from '../cli-error.ts'
import { type Command, type Output, parse } from '../command.ts'
import { askLaunch, askStatus } from '../device-client.ts'

export const open: Command = {
  synopsis: 'URL [--as ACCOUNT]',
  summary:
    'Open a trustcast:// address, as a portal makes it: the service of this endpoint opens the workspace. Where no service runs, root can open it without one, as ACCOUNT or whoever called sudo.',
  run: async (args, out) => {
    const words = parse(args, { as: { type: 'string' } }, [1, 1])
    const { site, code } = parseLaunchUrl(words.positionals[0] ?? '')
    const service = await askStatus().catch((error: unknown) => {
      if (error instanceof CliError && error.code === 'CLI_NO_SERVICE' && process.getuid?.() === 0)
        return undefined
      throw error
    })
    if (service === undefined) {
      const { openAlone } = await import('../open-alone.ts')
      return openAlone({ site, code, account: words.text('as') }, out)
    }
    requireSite(service.site, site)
    sayOpening(await askLaunch(code), out)
  },
}

function sayOpening(answer: Awaited<ReturnType<typeof askLaunch>>, out: Output): void {
  out.result(answer, () =>
    answer.kind === 'met'
      ? 'The portal knows this device now.'
      : `${answer.launch.workspace.name} opens on this device. See how far it is: trustcast status`,
  )
}

/** A code is shown to no other site than the one that this machine belongs to. */
export function requireSite(ours: string, theirs: string): void {
  if (ours === theirs) return
  throw new CliError('CLI_OTHER_SITE', `this device belongs to ${ours}, the address is of ${theirs}`, {
    remedy: `Open ${ours} and launch it there.`,
  })
}
