import { randomUUID } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { StoreOptions } from '#apps/images/open-store.ts'
import type { SiteAddress } from '#apps/site-client/call.ts'
import type { DiskDelivery } from '#core/api/person.ts'
import { isKept } from '#core/trust/words.ts'
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

interface DiskOptions extends OpenOptions {
  /** Ends what uses disks that are kept. */
  readonly stop: AbortSignal
  /** Launches of such disks that are not over. They may fail. */
  readonly kept: Set<Promise<unknown>>
}

/** For guests to shut down, and for what was written to kept disks; what comes after has to fit into the unit's TimeoutStopSec, too. */
const shutDownMs = 10_000
const memoryBytes = 134_217_728
const cacheBytes = 10_737_418_240

/** Opens what was delivered, and shows the screens of what runs. */
export interface DeliveryOpener extends Pick<VmOpener, 'serveDisplay'> {
  readonly open: OpenDelivery
  /** Ends in good order, as far as that takes no longer than 10 s, what would lose something otherwise: guests, and disks that are kept. */
  shutDown(): Promise<void>
}

/** Opens each kind of delivery that an endpoint can be given, as the account and on the screen of whoever asked. */
export function deliveryOpener(options: OpenOptions): DeliveryOpener {
  const vms = vmOpener(options)
  const stop = new AbortController()
  const kept = new Set<Promise<unknown>>()
  return {
    open: async (opening) => {
      const { delivery } = opening
      if (delivery.kind === 'streamed-disk')
        return openStreamedDisk({ ...options, stop: stop.signal, kept }, opening, delivery)
      if (delivery.kind === 'local-vm') return vms.open(opening, delivery)
      throw new ServiceError('SERVICE_CANNOT_OPEN', `this device cannot open ${delivery.kind} by itself`, {
        remedy: 'Open it in the portal.',
      })
    },
    serveDisplay: (sessionId, stream) => vms.serveDisplay(sessionId, stream),
    shutDown: async () => {
      stop.abort()
      await Promise.race([
        Promise.allSettled([vms.shutDown(shutDownMs), ...kept]),
        sleep(shutDownMs, undefined, { ref: false }),
      ])
    },
  }
}

/** Mounts the disk where its application alone sees it, and runs that until it ends or the lease does. */
async function openStreamedDisk(
  options: DiskOptions,
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
    if (isKept(disk.overlay())) options.kept.add(running)
    return opened
  }
  const running = launchDisk(agent, { delivery, nonce, askedAt }, open).finally(() =>
    options.kept.delete(running),
  )
  return running
}

/** What opens disks is loaded when there is one to open: a service that waits needs none of it in memory. */
async function disksFor(
  { dir, site, storeOptions, network, stop, warn }: DiskOptions,
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
    stop,
    use: async (disk) => {
      // What it says is of the workspace: in the log of this machine it would stay.
      await runApplication(disk, { user, network, ...screen, onOutput: () => {} })
    },
    warn,
  })
}
