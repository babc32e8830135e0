import { pino } from 'pino'
import { startEndpointAgent } from '#apps/endpoint/endpoint-agent.ts'
import { deliveryOpener } from '#apps/endpoint/service/open-delivery.ts'
import { redeemer } from '#apps/endpoint/service/redeem.ts'
import { siteOfEndpoint } from '#apps/endpoint/service/site-of-endpoint.ts'
import type { Output } from './command.ts'
import { requireSite } from './commands/open.ts'
import { accountHere, displayHere } from './deliver-here.ts'
import { warn } from './error-text.ts'
import { endpointDir } from './this-endpoint.ts'
import { version } from './version.ts'

/** For the site to take note of this machine before it is asked to deliver to it. */
const connectMs = 5_000

/** Opens a hand-over without a service: this process is the endpoint's agent until the workspace ends. */
export async function openAlone(
  wish: { readonly site: string; readonly code: string; readonly account: string | undefined },
  out: Output,
): Promise<void> {
  const dir = endpointDir()
  const site = await siteOfEndpoint(dir, undefined)
  requireSite(site.url, wish.site)
  const user = await accountHere(wish.account)
  const log = pino({ name: 'endpoint', level: 'silent' })
  await using agent = await startEndpointAgent({ dir, version: version(), log })
  await agent.untilConnected(connectMs)
  const { answer, nonce, askedAt } = await redeemer(agent, dir, site)(wish.code, 'address')
  if (answer.kind === 'met') return out.result(answer, () => 'The portal knows this device now.')
  const { delivery } = answer
  const close = (): void => void agent.leases.close()
  if (out.signal.aborted) close()
  else out.signal.addEventListener('abort', close, { once: true })
  const opener = deliveryOpener({ agent, dir, site, storeOptions: {}, network: false, warn })
  const { display } = displayHere()
  const desktop =
    display?.kind === 'x11'
      ? { display: display.display, ...(display.authority !== undefined && { authority: display.authority }) }
      : {}
  const { code, reason, notice } = await opener.open({
    delivery,
    nonce,
    askedAt,
    account: async () => user,
    desktop,
    onOpen: () => out.say(`${delivery.session.workspace.name} is open on this device`),
  })
  out.result({ code, reason, ...(notice !== undefined && { notice }) }, () => `Ended: ${reason}`)
  if (notice?.remedy !== undefined) out.say(notice.remedy)
}
