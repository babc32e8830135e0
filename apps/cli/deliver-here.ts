import { join } from 'node:path'
import type { SandboxRequest } from '#adapters/sandbox-bubblewrap/index.ts'
import { type Account, findAccount } from '#apps/endpoint/accounts.ts'
import { type DeliverOptions, diskDeliverer } from '#apps/endpoint/deliver-disk.ts'
import type { EndpointAgent } from '#apps/endpoint/endpoint-agent.ts'
import { launchDisk } from '#apps/endpoint/launch-disk.ts'
import type { SiteAddress } from '#apps/site-client/call.ts'
import { releaseMetadata } from '#apps/site-client/release-metadata.ts'
import type { DiskDelivery } from '#core/api/person.ts'
import { CliError } from './cli-error.ts'
import type { Output } from './command.ts'
import { warn } from './error-text.ts'
import type { Launched } from './launch-here.ts'
import { endpointDir } from './this-endpoint.ts'

const memoryBytes = 134_217_728
const cacheBytes = 10_737_418_240

/** How much is kept of what was fetched, and where; what is absent is as usual. */
export interface CacheWords {
  readonly cache?: Partial<DeliverOptions['cache']>
  readonly memoryBytes?: number
}

/** What commands differ in that use a delivered disk. */
export interface DiskUse
  extends Pick<DeliverOptions, 'serving' | 'use' | 'storeOptions' | 'readOnly'>,
    CacheWords {
  readonly site: SiteAddress
  readonly agent: EndpointAgent
  readonly launched: Launched & { readonly delivery: DiskDelivery }
}

/** Uses a disk that was delivered to this machine, until its lease is over, and says why it ended. */
export async function deliverHere(
  { site, agent, launched, cache, ...use }: DiskUse,
  out: Output,
): Promise<void> {
  const dir = endpointDir()
  const stopping = new AbortController()
  let isKept = false
  const open = diskDeliverer({
    dir,
    cache: { dir: join(dir, 'chunks'), maximumBytes: cacheBytes, ...cache },
    memoryBytes,
    fetch: releaseMetadata(site),
    ...use,
    say: (sentence) => out.say(sentence),
    stop: stopping.signal,
    use: async (disk) => {
      isKept = disk.isKept
      await use.use(disk)
    },
    warn,
  })
  // What was written is written out first, and sent, where it is to stay.
  const close = (): void => (isKept ? stopping.abort() : void agent.leases.close())
  // Whoever gave up while the site was asked has a lease that is to be given back, too.
  if (out.signal.aborted) close()
  else out.signal.addEventListener('abort', close, { once: true })
  const { code, reason, notice } = await launchDisk(agent, launched, open)
  out.result({ code, reason, ...(notice === undefined ? {} : { notice }) }, () => `Ended: ${reason}`)
  if (notice?.remedy !== undefined) out.say(notice.remedy)
  if (notice?.stepDown !== undefined) {
    const { id } = launched.delivery.session.workspace
    out.say(`Go on in the data centre (${notice.stepDown}): trustcast launch ${id}`)
  }
}

/**
 * Whom applications run as: the account that was named, or whoever called sudo.
 *
 * @throws {CliError} CLI_NO_ACCOUNT
 */
export async function accountHere(named: string | undefined): Promise<Account> {
  const wanted = named ?? process.env['SUDO_USER']
  const found = wanted === undefined ? undefined : await findAccount(wanted)
  if (found !== undefined) return found
  throw new CliError('CLI_NO_ACCOUNT', `applications do not run as ${wanted ?? 'root'}`, {
    remedy: 'Name an account of this machine: --as ACCOUNT.',
  })
}

/** The screen of whoever calls, if it is one of this machine. */
export function displayHere(): Pick<SandboxRequest, 'display'> {
  const { DISPLAY: display, XAUTHORITY: authority } = process.env
  if (display === undefined || !display.startsWith(':')) return {}
  return { display: { kind: 'x11', display, ...(authority !== undefined && { authority }) } }
}
