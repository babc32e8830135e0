import { siteConfig } from '#apps/site/config.ts'
import { setupLink } from '#apps/site/first-start.ts'
import { runSite } from '#apps/site/run-site.ts'
import type { Site } from '#apps/site/site.ts'
import { isSupervised, supervisedSignal } from '#apps/up/supervisor.ts'
import { type Command, type Output, parse } from '../command.ts'
import { configOption, readConfig } from '../read-config.ts'
import { replaceLostOf, replaceLostOption } from '../replace-lost.ts'

const farewellMs = 2_000

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
    // A database that hangs says no goodbye to its connections, which would keep this process for ever.
    setTimeout(() => process.exit(), farewellMs).unref()
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
