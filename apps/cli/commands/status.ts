import { X509Certificate } from 'node:crypto'
import { type AgentIdentity, readIdentity } from '#apps/agent-client/index.ts'
import { type DeviceLaunch, type DeviceStatus } from '#core/api/handoff.ts'
import { CliError } from '../cli-error.ts'
import { type Command, parse } from '../command.ts'
import { askStatus } from '../device-client.ts'
import { printable } from '../printable.ts'
import { endpointDir } from '../this-endpoint.ts'
import { sizeText } from './image/store-options.ts'

export const status: Command = {
  synopsis: '[--state DIR]',
  summary:
    'What this endpoint is and does: its site, its certificate, what runs from here under which lease, and what was taken back, why, and what to do. --state DIR is the folder of the enrolment, where it is not the usual one.',
  run: async (args, out) => {
    const dir = parse(args, { state: { type: 'string' } }, [0, 0]).text('state')
    const found = await statusOf(dir).catch(async (error: unknown) => {
      if (!(error instanceof CliError && error.code === 'CLI_NO_SERVICE')) throw error
      return withoutService(error, dir ?? endpointDir())
    })
    if ('connected' in found) return out.result(found, () => describeStatus(found, Date.now()))
    out.result(
      found,
      () => `This machine is endpoint ${found.endpointId}, and its service does not run.\n${found.remedy}`,
    )
  },
}

/**
 * One service answers on a machine, whatever folder it has.
 *
 * @param dir the folder that is asked about, where one was named
 * @throws {CliError} CLI_NO_SERVICE, also when it is that of another folder
 */
async function statusOf(dir: string | undefined): Promise<DeviceStatus> {
  const found = await askStatus()
  if (dir === undefined || (await identityIn(dir))?.id === found.endpointId) return found
  throw new CliError('CLI_NO_SERVICE', `the service of this machine is not that of ${dir}`, {
    remedy: `Start it with this folder: trustcast endpoint --state ${dir}`,
  })
}

/**
 * What is known without the service, by whoever may read the identity.
 *
 * @throws {AgentError} AGENT_NOT_ENROLLED: the service does not start before that
 */
async function withoutService(away: CliError, dir: string) {
  const identity = await identityIn(dir)
  if (identity === undefined) throw away
  const { id: endpointId, siteId, chainPem } = identity
  const certificateExpiresAt = new Date(new X509Certificate(chainPem).validTo).toISOString()
  return { endpointId, siteId, certificateExpiresAt, service: false, remedy: away.remedy ?? '' }
}

/** @returns undefined when this account may not read it */
async function identityIn(dir: string): Promise<AgentIdentity | undefined> {
  return readIdentity(dir, 'endpoint').catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'EACCES') return undefined
    throw error
  })
}

/** The status as people read it. */
export function describeStatus(status: DeviceStatus, nowMs: number): string {
  const { endpointId, site, certificateExpiresAt, evidenceAt, launches, disks } = status
  const isOver = Date.parse(certificateExpiresAt) <= nowMs
  const running = launches.filter(({ state }) => state !== 'ended')
  const taken = launches.filter(({ end }) => end?.taken === true)
  const failed = launches.filter(({ end }) => end?.taken === false && end.code !== 'LEASE_ENDED')
  return [
    `This machine is endpoint ${endpointId} of ${site}.`,
    connectionText(status),
    `Certificate until ${certificateExpiresAt}${isOver ? ': EXPIRED' : ''}.`,
    evidenceAt === undefined ? undefined : `The site last took evidence ${agoText(evidenceAt, nowMs)}.`,
    ...(running.length + disks.length === 0 ? ['Nothing runs from here.'] : ['Running:']),
    ...running.map(runningLine),
    ...disks.map(diskLine),
    ...(taken.length === 0 ? [] : ['Taken back:']),
    ...taken.flatMap((launch) => endLines(launch, nowMs)),
    ...(failed.length === 0 ? [] : ['Over:']),
    ...failed.flatMap((launch) => endLines(launch, nowMs)),
  ]
    .filter((line) => line !== undefined)
    .map(printable)
    .join('\n')
}

function connectionText({ connected, intercepted, trouble }: DeviceStatus): string {
  const why = trouble && [`${trouble.message}.`, trouble.remedy].join(' ').trimEnd()
  if (connected) return why === undefined ? 'Connected to the site.' : `Connected to the site, but ${why}`
  if (why !== undefined && !intercepted) return `NOT connected to the site: ${why}`
  return intercepted
    ? 'NOT connected to the site: somebody in between answers in its place. Use another network, or ask the people who run this one not to open connections to the site.'
    : 'NOT connected to the site; it dials again by itself.'
}

function runningLine({ workspace, mode, state, person, leaseLeftMs, stats }: DeviceLaunch): string {
  const lease = leaseLeftMs === undefined ? '' : `, lease for ${minutesText(leaseLeftMs)} more`
  const bytes = `${sizeText(stats.bytesFetched)} fetched, ${Math.round(stats.percentLocal)} % of it here`
  return `  ${workspace.name} (${mode}) for ${person}: ${state === 'opening' ? 'opening' : bytes}${lease}`
}

function diskLine({ id, name, mount, bytesFetched, percentLocal }: DeviceStatus['disks'][number]): string {
  const where = mount === undefined ? '' : ` on ${mount}`
  const bytes = bytesFetched === undefined ? '' : `: ${sizeText(bytesFetched)} fetched`
  const local = percentLocal === undefined ? '' : `, ${Math.round(percentLocal)} % of it here`
  return `  disk ${id} (${name})${where}${bytes}${local}`
}

function endLines({ workspace, end }: DeviceLaunch, nowMs: number): readonly string[] {
  if (end === undefined) return []
  return [
    `  ${workspace.name}, ${agoText(end.at, nowMs)}: ${end.reason}`,
    ...(end.remedy === undefined ? [] : [`    ${end.remedy}`]),
    ...(end.stepDown === undefined
      ? []
      : [`    Go on in the data centre (${end.stepDown}): trustcast launch ${workspace.id}`]),
  ]
}

function minutesText(ms: number): string {
  return ms < 60_000 ? `${Math.floor(ms / 1000)} s` : `${Math.floor(ms / 60_000)} min`
}

function agoText(instant: string, nowMs: number): string {
  return `${minutesText(Math.max(0, nowMs - Date.parse(instant)))} ago`
}
