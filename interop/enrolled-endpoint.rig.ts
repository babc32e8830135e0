import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { enrolAgent, steadyMs } from '#apps/agent-client/index.ts'
import {
  type EndpointAgent,
  type EndpointAgentOptions,
  readEndpointCredentials,
  startEndpointAgent,
} from '#apps/endpoint/endpoint-agent.ts'
import { type DiskEnd, type DiskToOpen, launchDisk, type OpenedDisk } from '#apps/endpoint/launch-disk.ts'
import { toldFloors } from '#apps/endpoint/told-floors.ts'
import { callJson } from '#apps/site-client/call.ts'
import { tokenAnswer } from '#core/api/admin.ts'
import type { LeaseStats } from '#core/api/lease.ts'
import { type DiskDelivery, launchAnswer } from '#core/api/person.ts'
import { newKey } from './hosted-person.rig.ts'
import type { RunningSite, SignedInClient } from './running-site.rig.ts'

/** A machine that was enrolled as an endpoint, with its agent. */
export interface EnrolledEndpoint extends AsyncDisposable {
  readonly dir: string
  readonly agent: EndpointAgent
  /** Moves the endpoint's own clock. */
  skewMs: number
  /** A launch as the command line on this machine makes it. */
  launch(
    client: SignedInClient,
    workspaceId: string,
    options?: { readonly switch?: boolean },
  ): Promise<EndpointLaunch>
}

export interface EndpointLaunch extends Awaited<ReturnType<typeof launchAt>> {}

const silent = { info: () => undefined, warn: () => undefined }

export async function enrolEndpoint(
  site: RunningSite,
  admin: SignedInClient,
  name: string,
  { pool, ...options }: Pick<EndpointAgentOptions, 'report' | 'now'> & { readonly pool?: string } = {},
): Promise<EnrolledEndpoint> {
  const dir = await mkdtemp(join(tmpdir(), 'tc-endpoint-'))
  const { token } = await admin.send(
    'POST',
    '/admin/enrolment-tokens',
    { kind: 'endpoint', name, pool },
    tokenAnswer,
  )
  await enrolAgent({ url: site.url, token, dir, kind: 'endpoint' })
  const agent = await startEndpointAgent({
    dir,
    version: 'test',
    log: silent,
    steadyMs: () => steadyMs() + endpoint.skewMs,
    ...options,
  })
  const endpoint: EnrolledEndpoint = {
    dir,
    agent,
    skewMs: 0,
    launch: (client, workspaceId, wish) => launchAt(site, endpoint, client, workspaceId, wish),
    [Symbol.asyncDispose]: async () => {
      await agent[Symbol.asyncDispose]()
      await rm(dir, { recursive: true })
    },
  }
  if (!(await agent.untilConnected(20_000))) throw new Error('the site took no note of the endpoint')
  return endpoint
}

async function launchAt(
  site: RunningSite,
  { dir, agent }: EnrolledEndpoint,
  client: SignedInClient,
  workspaceId: string,
  wish: { readonly switch?: boolean } = {},
) {
  const { clientKey } = await newKey()
  const nonce = randomBytes(32).toString('base64url')
  const credentials = { ...client.credentials, endpoint: await readEndpointCredentials(dir) }
  const askedAt = agent.steadyMs()
  const floors = await toldFloors(dir)
  const body = { workspaceId, clientKey, nonce, floors, width: 480, height: 320, ...wish }
  const request = { method: 'POST', path: '/api/v1/launches', body }
  const answer = await callJson(site.address, request, launchAnswer, credentials)
  return { ...answer, nonce, askedAt }
}

export function diskOf({ delivery }: EndpointLaunch): DiskDelivery {
  if (delivery.kind === 'streamed-disk') return delivery
  throw new Error(`expected a streamed disk, got ${delivery.kind}`)
}

/** A launch, once it is open, whose disk is a stand-in that does what a real one does with its lease, and no more. */
export interface LeaseInUse {
  readonly leaseId: string
  readonly opened: DiskToOpen
  /** What it says of itself. */
  readonly stats: { -readonly [Name in keyof LeaseStats]: LeaseStats[Name] }
  readonly end: Promise<DiskEnd>
  /** How it ended, if it has. */
  readonly ended: DiskEnd | undefined
  /** Its person is done with it. */
  finish(): void
}

export async function leaseInUse({ agent }: EnrolledEndpoint, made: EndpointLaunch): Promise<LeaseInUse> {
  const { delivery } = made
  if (delivery.kind === 'hosted') throw new Error('expected what runs on the endpoint')
  const opened = Promise.withResolvers<DiskToOpen>()
  const done = Promise.withResolvers<void>()
  const stats = { bytesFetched: 0, bytesLocal: 0, percentLocal: 0, cacheHits: 0, bytesWritten: 0 }
  let ended: DiskEnd | undefined
  const open = async (disk: DiskToOpen): Promise<OpenedDisk> => {
    opened.resolve(disk)
    return { run: () => done.promise, stats: () => stats, [Symbol.asyncDispose]: async () => undefined }
  }
  const end = launchDisk(agent, { ...made, delivery }, open).then((how) => (ended = how))
  end.then(({ code }) => opened.reject(new Error(`it ended before it was open: ${code}`)), opened.reject)
  return {
    leaseId: delivery.lease.id,
    opened: await opened.promise,
    stats,
    end,
    get ended() {
      return ended
    },
    finish: () => done.resolve(),
  }
}
