import { X509Certificate } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { type DesktopNotice, notifyDesktop } from '#adapters/notify-desktop/index.ts'
import { readIdentity } from '#apps/agent-client/index.ts'
import type { StoreOptions } from '#apps/images/open-store.ts'
import type { SiteAddress } from '#apps/site-client/call.ts'
import type { DeviceDisplayAnswer, DeviceLaunchAnswer, DeviceStatus, HandedBy } from '#core/api/handoff.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { devicePort } from '#core/handoff/index.ts'
import { listDisks, readDisks } from '../disk/attached.ts'
import { controlOf } from '../disk/control.ts'
import { folderOf } from '../disk/record.ts'
import { runDirectory } from '../disk/run-dir.ts'
import { type EndpointAgent, type EndpointAgentOptions, startEndpointAgent } from '../endpoint-agent.ts'
import type { VmRecord } from '../vm/vm-record.ts'
import { accountFor } from './account.ts'
import { type Asker, type Desktop, desktopOf } from './asker.ts'
import { type DevicePort, openDevicePort } from './device-port.ts'
import { deviceSocketPath, openDeviceSocket } from './device-socket.ts'
import { DisplayTickets } from './display-tickets.ts'
import { Launches, type TakenBack } from './launches.ts'
import { noticeOf } from './notice.ts'
import { type DeliveryOpener, deliveryOpener } from './open-delivery.ts'
import { redeemer } from './redeem.ts'
import { ServiceError } from './service-error.ts'
import { siteOfEndpoint } from './site-of-endpoint.ts'
import { trustWatch } from './trust-watch.ts'

/** What browsers and the command line of this machine can ask of the service. */
export interface DeviceService {
  launch(code: string, by: HandedBy, asker: Asker): Promise<DeviceLaunchAnswer>
  status(asker: Asker): Promise<DeviceStatus>
  /**
   * Lets whoever may see what runs under a session show its screen.
   *
   * @throws {ServiceError} SERVICE_NO_SCREEN
   */
  display(sessionId: string, asker: Asker): DeviceDisplayAnswer
  /**
   * @returns shows that screen to a viewer that speaks RFB, and ends it where there is none any more
   * @throws {ServiceError} SERVICE_TICKET_REFUSED
   */
  redeemDisplay(ticket: string, asker: Asker): (viewer: Duplex) => void
  /** The VMs that whoever asks may look after; root all. */
  vms(asker: Asker): Promise<readonly VmRecord[]>
  /**
   * Has one of them do something.
   *
   * @param text what is asked of it, as JSON
   * @throws {ServiceError} SERVICE_BAD_REQUEST; {LocalVmError} LOCAL_VM_UNKNOWN, and what the VM itself refuses
   */
  actOnVm(id: string, text: string, asker: Asker): Promise<object>
  warn(error: unknown): void
}

export interface EndpointServiceOptions extends EndpointAgentOptions {
  /** Where people reach the site, if not where this machine was enrolled. */
  readonly site?: string | undefined
  /** Of the loopback address; 0 picks a free one. Absent: `devicePort`. */
  readonly port?: number | undefined
  /** As whom workspaces run, if not as whoever asked. */
  readonly account?: string | undefined
  /** Whose members may use the unix socket. */
  readonly group?: string | undefined
  readonly network: boolean
  readonly storeOptions: StoreOptions
  /** What completes the copies of VMs' images may fetch, and send of what they wrote; absent: what is left beside what is read. */
  readonly backgroundBytesPerSecond?: number | undefined
}

export interface EndpointService extends AsyncDisposable {
  readonly agent: EndpointAgent
  readonly port: number
}

/**
 * The one program of an endpoint: its agent, and the ways by which a portal or a command line of this machine has it open workspaces.
 *
 * @throws {AgentError} AGENT_NOT_ENROLLED, AGENT_WRONG_KIND, AGENT_KEY_DAMAGED; {ServiceError} SERVICE_NO_SITE, SERVICE_BAD_REQUEST
 */
export async function startEndpointService(options: EndpointServiceOptions): Promise<EndpointService> {
  const site = await siteOfEndpoint(options.dir, options.site)
  await using undo = new AsyncDisposableStack()
  const people = new Map<number, Desktop>()
  const warn = warnerOf(options)
  const runDir = runDirectory(process.env, process.getuid?.())
  // Of a process that was killed the mounts stay, and with them what was read of its disks.
  await listDisks(runDir).catch(warn)
  // A directory service may not answer yet: each launch asks again.
  if (options.account !== undefined) await accountFor(options.account, undefined).catch(warn)
  const watch = trustWatch((notice) => void tellAll(notice, people, options).catch(warn))
  const agent = undo.use(await startEndpointAgent({ ...options, onVerdict: watch }))
  const { dir, network, storeOptions, backgroundBytesPerSecond } = options
  const opener = deliveryOpener({
    agent,
    dir,
    site,
    storeOptions,
    network,
    backgroundBytesPerSecond,
    warn,
  })
  const service = serviceOf(options, agent, site, opener, people)
  const path = deviceSocketPath(runDir)
  undo.use(await openDeviceSocket(service, { path, group: options.group }))
  const wanted = { origin: new URL(site.url).origin, port: options.port ?? devicePort }
  const { port } = undo.use<DevicePort>(await openPortFor(service, wanted))
  undo.defer(async () => {
    await opener.shutDown()
    await agent.leases.close()
    await service.launches.settled()
  })
  const all = undo.move()
  return { agent, port, [Symbol.asyncDispose]: () => all.disposeAsync() }
}

/** No account of the device keeps its service from running, whatever it listens on before that starts. */
async function openPortFor(
  service: DeviceService,
  wanted: { readonly origin: string; readonly port: number },
): Promise<DevicePort> {
  try {
    return await openDevicePort(service, wanted)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EADDRINUSE')) throw error
    const message = `another program of this device listens on port ${wanted.port} of 127.0.0.1: portals use trustcast:// addresses`
    service.warn(
      new ServiceError('SERVICE_PORT_TAKEN', message, {
        remedy: 'End that program, and restart the service.',
      }),
    )
    return openDevicePort(service, { ...wanted, port: 0 })
  }
}

function serviceOf(
  options: EndpointServiceOptions,
  agent: EndpointAgent,
  site: SiteAddress,
  opener: DeliveryOpener,
  people: Map<number, Desktop>,
): DeviceService & { readonly launches: Launches } {
  const { dir, version, account } = options
  const warn = warnerOf(options)
  const launches = new Launches({
    agent,
    redeem: redeemer(agent, dir, site),
    open: (opening) => opener.open(opening),
    account,
    onTaken: (taken) => void tell(taken, options),
    onFailed: warn,
    now: () => Date.now(),
  })
  const tickets = new DisplayTickets(() => performance.now())
  return {
    launches,
    display: (sessionId, asker) => {
      launches.requireScreen(sessionId, asker)
      return { ticket: tickets.issue(sessionId, asker) }
    },
    redeemDisplay: (ticket, asker) => {
      const sessionId = tickets.redeem(ticket, asker)
      return (viewer) => {
        if (!opener.serveDisplay(sessionId, viewer)) viewer.destroy()
      }
    },
    // Loaded when somebody asks: a service that waits needs none of it in memory.
    vms: async (asker) => (await import('./own-vms.ts')).listVms(asker),
    actOnVm: async (id, text, asker) => (await import('./own-vms.ts')).actOnVm(id, text, asker),
    launch: async (code, by, asker) => {
      // Whoever uses this device is told when trust in it changes.
      people.set(asker.uid, await desktopOf(asker))
      return launches.launch(code, by, asker)
    },
    warn,
    status: async (asker) => {
      const { id, siteId, chainPem } = await readIdentity(dir, 'endpoint')
      return {
        version,
        endpointId: id,
        siteId,
        site: site.url,
        connected: agent.isConnected,
        intercepted: agent.isIntercepted,
        ...(agent.trouble !== undefined && { trouble: agent.trouble }),
        ...evidenceAtOf(agent),
        certificateExpiresAt: new Date(new X509Certificate(chainPem).validTo).toISOString(),
        launches: [...launches.list(asker)],
        disks: asker.uid === 0 ? [...(await otherDisks())] : [],
      }
    },
  }
}

function evidenceAtOf({ reporter }: EndpointAgent): Pick<DeviceStatus, 'evidenceAt'> {
  const at = reporter?.acceptedAt
  return at === undefined ? {} : { evidenceAt: new Date(at).toISOString() }
}

function warnerOf({ log }: EndpointServiceOptions): (error: unknown) => void {
  return (error) => {
    // A refusal is said to whoever asked, too.
    log.warn(
      isCoded(error)
        ? {
            code: error.code,
            reason: error.message,
            ...(error.remedy !== undefined && { remedy: error.remedy }),
          }
        : { err: error },
      'something failed',
    )
  }
}

/** Whoever has a desktop here is told there; the log is told in any case. */
async function tell(
  { launch, end, asker, desktop }: TakenBack,
  { log }: EndpointServiceOptions,
): Promise<void> {
  const notice = noticeOf(launch, end)
  const outcome = await notifyDesktop(notice, { uid: asker.uid, address: desktop.busAddress })
  log.warn({ session: launch.id, code: end.code, told: outcome }, `${notice.title}: ${notice.body}`)
}

/** Those who have used this device since the service started, at the desktop from which they did last. */
async function tellAll(
  notice: DesktopNotice,
  people: ReadonlyMap<number, Desktop>,
  { log }: EndpointServiceOptions,
): Promise<void> {
  log.warn({}, `${notice.title}: ${notice.body}`)
  for (const [uid, { busAddress }] of people) await notifyDesktop(notice, { uid, address: busAddress })
}

/** Disks that other programs of this account have attached. */
async function otherDisks(): Promise<DeviceStatus['disks']> {
  const runDir = runDirectory(process.env, process.getuid?.())
  const disks = await readDisks(runDir)
  const others = disks.filter(({ pid, state }) => pid !== process.pid && state === 'serving')
  return Promise.all(
    others.map(async ({ id, name, mount }) => {
      const stats = await controlOf(folderOf(runDir, id).control)
        .stats()
        .catch(() => undefined)
      return {
        id,
        name,
        ...(mount !== undefined && { mount: mount.dir }),
        ...(stats !== undefined && { bytesFetched: stats.bytesFetched }),
        ...(stats?.percentLocal !== undefined && { percentLocal: stats.percentLocal }),
      }
    }),
  )
}
