import { randomUUID } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { StoreOptions } from '#apps/images/open-store.ts'
import type { SiteAddress } from '#apps/site-client/call.ts'
import type { DiskDelivery } from '#core/api/person.ts'
import { runDirectory } from '../disk/run-dir.ts'
import type { EndpointAgent } from '../endpoint-agent.ts'
import { type DiskEnd, launchDisk, type OpenDisk } from '../launch-disk.ts'
import type { OpenDelivery, Opening } from './launches.ts'
import { type VmOpener, vmOpener } from './open-vm.ts'
import { ServiceError } from './service-error.ts'

export interface OpenOptions {
  readonly agent: EndpointAgent
  /** The endpoint's state folder. */
  readonly dir: string
  readonly site: SiteAddress
  readonly storeOptions: StoreOptions
  /** Applications may use this machine's network. */
  readonly network: boolean
  /** For copies of VMs' images; see `LocalVmsOptions`. */
  readonly backgroundBytesPerSecond?: number | undefined
  readonly warn: (error: unknown) => void
}

const memoryBytes = 134_217_728
const cacheBytes = 10_737_418_240

/** Opens what was delivered, and shows the screens of what runs. */
export interface DeliveryOpener extends Omit<VmOpener, 'open'> {
  readonly open: OpenDelivery
}

/** Opens each kind of delivery that an endpoint can be given, as the account and on the screen of whoever asked. */
export function deliveryOpener(options: OpenOptions): DeliveryOpener {
  const vms = vmOpener(options)
  return {
    open: async (opening) => {
      const { delivery } = opening
      if (delivery.kind === 'streamed-disk') return openStreamedDisk(options, opening, delivery)
      if (delivery.kind === 'local-vm') return vms.open(opening, delivery)
      throw new ServiceError('SERVICE_CANNOT_OPEN', `this device cannot open ${delivery.kind} by itself`, {
        remedy: 'Open it in the portal.',
      })
    },
    serveDisplay: (sessionId, stream) => vms.serveDisplay(sessionId, stream),
    shutDown: () => vms.shutDown(),
  }
}

/** Mounts the disk where its application alone sees it, and runs that until it ends or the lease does. */
async function openStreamedDisk(
  options: OpenOptions,
  opening: Opening,
  delivery: DiskDelivery,
): Promise<DiskEnd> {
  const { agent } = options
  const { nonce, askedAt, onOpen } = opening
  // The folder is ours alone: whatever a disk's own root lets everybody do, others do not come as far.
  const mounts = join(runDirectory(process.env, process.getuid?.()), 'mounts')
  await mkdir(mounts, { recursive: true, mode: 0o700 })
  const mountDir = join(mounts, randomUUID())
  const open: OpenDisk = async (disk) => {
    const opened = await (await disksFor(options, opening, mountDir))(disk)
    onOpen(() => opened.stats())
    return opened
  }
  return launchDisk(agent, { delivery, nonce, askedAt }, open)
}

/** What opens disks is loaded when there is one to open: a service that waits needs none of it in memory. */
async function disksFor(
  { dir, site, storeOptions, network, warn }: OpenOptions,
  { account, desktop }: Opening,
  mountDir: string,
): Promise<OpenDisk> {
  const user = await account()
  const [{ diskDeliverer, runApplication }, { releaseMetadata }] = await Promise.all([
    import('../deliver-disk.ts'),
    import('#apps/site-client/release-metadata.ts'),
  ])
  const { display, authority } = desktop
  const screen = display !== undefined && {
    display: { kind: 'x11' as const, display, ...(authority !== undefined && { authority }) },
  }
  return diskDeliverer({
    dir,
    cache: { dir: join(dir, 'chunks'), maximumBytes: cacheBytes },
    memoryBytes,
    storeOptions,
    fetch: releaseMetadata(site),
    serving: {
      format: 'raw',
      runDir: runDirectory(process.env, process.getuid?.()),
      mount: { dir: mountDir, readOnly: false },
    },
    use: async (disk) => {
      // What it says is of the workspace: in the log of this machine it would stay.
      await runApplication(disk, { user, network, ...screen, onOutput: () => {} })
    },
    warn,
  })
}
