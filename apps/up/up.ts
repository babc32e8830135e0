import { createHash, X509Certificate } from 'node:crypto'
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises'
import { get } from 'node:https'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Logger, pino } from 'pino'
import { stringify } from 'yaml'
import { validityOf } from '#adapters/pki-x509/index.ts'
import { startPostgres } from '#adapters/postgres-embedded/index.ts'
import {
  agentById,
  migrate,
  noteSuccession,
  onlineAgents,
  openStore,
  personByLogin,
  type Store,
  type StoreAddress,
} from '#adapters/store-postgres/index.ts'
import { AgentError, type AgentIdentity, enrolAgent, readIdentity } from '#apps/agent-client/index.ts'
import { type SiteConfig, siteConfig } from '#apps/site/config.ts'
import { createEnrolmentToken, revoke } from '#apps/site/endpoints/enrolment.ts'
import { furnish, setupLink } from '#apps/site/first-start.ts'
import { openSite } from '#apps/site/open-site.ts'
import type { Site } from '#apps/site/site.ts'
import type { SiteKeyName } from '#apps/site/site-keys.ts'
import { addDemoContent, demoAccounts } from './demo.ts'
import { type Ports, portsFrom, requireFree, UpError } from './ports.ts'
import { createSupervisor, type Supervisor } from './supervisor.ts'

/** A whole site on one machine: database, site node, gateways and hosts, each a process of its own. */

export interface UpOptions {
  readonly state: string
  readonly port: number
  readonly demo: boolean
  /** `postgres://…`, or undefined for the one that comes along. */
  readonly database: string | undefined
  readonly gateways: number
  readonly hosts: number
  readonly warm: number
  /** Files with certificates of those who certify TPMs. */
  readonly tpmAuthorities: readonly string[]
  /** Lost keys to go on without. */
  readonly replaceLost: readonly SiteKeyName[]
}

export interface Ready {
  readonly url: string
  /** For a site without an admin: where the first one is created, once. */
  readonly setup: string | undefined
  readonly accounts: readonly { readonly login: string; readonly password: string; readonly about: string }[]
  readonly fingerprint: string
}

const system = { type: 'system', id: 'up' } as const
const startTimeoutMs = 60_000
/** Everything on one machine is reached by its loopback address. */
const address = '127.0.0.1'

/**
 * Runs until `signal`.
 *
 * @throws {UpError} every code of this module
 */
export async function runUp(
  options: UpOptions,
  signal: AbortSignal,
  onReady: (ready: Ready) => void,
  say: (line: string) => void,
): Promise<void> {
  if (process.getuid?.() !== 0) {
    throw new UpError(
      'UP_NEEDS_ROOT',
      'sessions run as the operating-system users of people, which only root can make',
      { remedy: 'Run it with sudo.' },
    )
  }
  const ports = portsFrom(options.port, options.gateways)
  await requireFree(ports)
  await mkdir(join(options.state, 'logs'), { recursive: true })
  // Other accounts pass through to what is theirs; they see nothing on the way.
  await chmod(options.state, 0o711)
  await chmod(join(options.state, 'logs'), 0o700)
  const log = pino({ name: 'up' }, pino.destination({ dest: join(options.state, 'logs/up.log'), sync: true }))
  const database = await keepDatabase(options, log, signal, say)
  const supervisor = createSupervisor(join(options.state, 'logs'), (name, how) => {
    log.warn({ part: name, how }, 'a part ended by itself and is started again')
    say(`${name} ended (${how}); starting it again`)
  })
  const ending = new AbortController()
  const store = openStore(database.address)
  try {
    const config = siteConfigOf(options, ports, database.address)
    const site = await prepareSite(options, config, store, log, ending.signal)
    await startParts(options, ports, config, site, supervisor, signal)
    onReady(await describeReady(options, config, site))
    await aborted(signal)
  } catch (error) {
    // Ctrl-C reaches the parts, too: what breaks while everything ends is nobody's fault.
    if (!signal.aborted) throw error
  } finally {
    ending.abort()
    await supervisor.stop()
    await store.close()
    await database.stop()
  }
}

interface Database {
  readonly address: StoreAddress
  stop(): Promise<void>
}

/** The embedded database is started again whenever it ends. */
async function keepDatabase(
  { database, state }: UpOptions,
  log: Logger,
  signal: AbortSignal,
  say: (line: string) => void,
): Promise<Database> {
  if (database !== undefined) return { address: { url: database }, stop: async () => {} }
  let server = await startPostgres({ stateDir: state, log, signal })
  let stopped = false
  const keep = async (): Promise<void> => {
    for (;;) {
      await server.ended.catch((error: unknown) => log.error({ err: error }, 'the database ended badly'))
      if (stopped) return
      say('the database ended; starting it again')
      try {
        server = await startPostgres({ stateDir: state, log })
        // Nobody was there to stop it.
        if (stopped) await server.stop()
      } catch (error) {
        log.error({ err: error }, 'the database could not be started')
        await sleep(2_000)
      }
    }
  }
  void keep()
  return {
    address: server.connection,
    stop: async () => {
      stopped = true
      await server.stop()
    },
  }
}

function siteConfigOf(
  { state, warm, demo, tpmAuthorities }: UpOptions,
  ports: Ports,
  database: StoreAddress,
): SiteConfig {
  return siteConfig.parse({
    name: demo ? 'Demo Hospital' : 'Trustcast',
    state,
    url: `https://localhost:${ports.people}`,
    listen: { port: ports.people },
    agents: { url: `https://localhost:${ports.agents}`, address, port: ports.agents },
    database,
    warm,
    tpm: { authorities: [...tpmAuthorities] },
  })
}

/** Tables, a policy that is safe to start with, zones, demo content. */
async function prepareSite(
  { demo, replaceLost }: UpOptions,
  config: SiteConfig,
  store: Store,
  log: Logger,
  signal: AbortSignal,
): Promise<Site> {
  await migrate(config.database)
  const site = await openSite(config, store, log, signal, replaceLost)
  if (demo) await addDemoContent(site)
  await furnish(site)
  return site
}

async function startParts(
  options: UpOptions,
  ports: Ports,
  config: SiteConfig,
  site: Site,
  supervisor: Supervisor,
  signal: AbortSignal,
): Promise<void> {
  supervisor.keep({
    name: 'site',
    args: ['site', '--config', await writeConfig(options.state, 'site', config)],
  })
  const since = new Date(site.now())
  await untilReady(site, signal)
  const gateways = ports.gateways.map((own, index) => ({ name: `gateway-${index + 1}`, own }))
  for (const { name, own } of gateways) {
    const dir = await enrolled(options.state, name, 'gateway', site, config)
    const gateway = {
      state: dir,
      people: { address, port: own.people },
      agents: { address, port: own.agents },
      publicUrl: `https://localhost:${own.people}`,
      agentUrl: `https://localhost:${own.agents}`,
      allowedOrigins: [site.origin],
    }
    supervisor.keep({ name, args: ['gateway', '--config', await writeConfig(options.state, name, gateway)] })
  }
  const hosts = Array.from({ length: options.hosts }, (_, index) => `host-${index + 1}`)
  for (const name of hosts) {
    const dir = await enrolled(options.state, name, 'host', site, config)
    const host = {
      state: dir,
      run: join(options.state, 'run', name),
      homes: join(options.state, 'homes'),
      capacity: 20,
      endSessionsOnStop: true,
    }
    supervisor.keep({ name, args: ['host', '--config', await writeConfig(options.state, name, host)] })
  }
  await untilOnline(site, since, { gateway: gateways.length, host: hosts.length }, signal)
}

async function enrolled(
  state: string,
  name: string,
  kind: 'gateway' | 'host',
  site: Site,
  config: SiteConfig,
): Promise<string> {
  const dir = join(state, name)
  const former = await identityIn(dir)
  if (former !== undefined && (await isLiving(site, former))) return dir
  if (former !== undefined) await giveUp(site, dir, former)
  const addresses = kind === 'gateway' ? ['localhost', '127.0.0.1', '::1'] : []
  const { token } = await createEnrolmentToken(site, { kind, name, pool: 'default', addresses }, system)
  const { id } = await enrolAgent({ url: config.url, token, dir, kind })
  // Of this machine nobody need prove that it is the same.
  if (former !== undefined) await noteSuccession(site.store.db, former.id, id)
  return dir
}

async function identityIn(dir: string): Promise<AgentIdentity | undefined> {
  return readIdentity(dir).catch((error: unknown) => {
    if (error instanceof AgentError && error.code === 'AGENT_NOT_ENROLLED') return undefined
    throw error
  })
}

/** An agent that slept past its certificate's end, that this database or authority does not know, or that would dial other ports, is enrolled anew. */
async function isLiving(site: Site, identity: AgentIdentity): Promise<boolean> {
  const agent = await agentById(site.store.db, identity.id)
  const isGood = agent?.revoked_at === null && validityOf(identity.chainPem).notAfter > site.now()
  const isOfAuthority = identity.rootPem === site.authority.rootPem
  return isGood && isOfAuthority && identity.agentUrl === site.config.agents.url
}

async function giveUp(site: Site, dir: string, { id }: AgentIdentity): Promise<void> {
  if ((await agentById(site.store.db, id)) !== undefined) await revoke(site, id, system)
  await rm(dir, { recursive: true })
}

async function writeConfig(state: string, name: string, config: object): Promise<string> {
  const path = join(state, `${name}.yaml`)
  await writeFile(path, stringify(config), { mode: 0o600 })
  return path
}

async function untilOnline(
  site: Site,
  since: Date,
  wanted: Readonly<Record<'gateway' | 'host', number>>,
  signal: AbortSignal,
): Promise<void> {
  // Only what has spoken since this start counts, not what did before an earlier end.
  const deadline = performance.now() + startTimeoutMs
  for (const kind of ['gateway', 'host'] as const) {
    for (;;) {
      if ((await onlineAgents(site.store.db, kind, since)).length >= wanted[kind]) break
      if (performance.now() > deadline) throw partFailed(`${kind}s`, site.config.state)
      await sleep(100, undefined, { signal })
    }
  }
}

async function untilReady({ config, authority }: Site, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + startTimeoutMs
  for (;;) {
    const ok = await new Promise<boolean>((resolve) => {
      get(
        `${config.url}/readyz`,
        { ca: authority.rootPem, agent: false, signal: AbortSignal.timeout(2_000) },
        (response) => {
          response.resume()
          resolve(response.statusCode === 200)
        },
      ).on('error', () => resolve(false))
    })
    if (ok) return
    if (performance.now() > deadline) throw partFailed('site', config.state)
    await sleep(100, undefined, { signal })
  }
}

function partFailed(part: string, state: string): UpError {
  return new UpError('UP_PART_FAILED', `the ${part} did not come up in ${startTimeoutMs / 1000} s`, {
    remedy: `See the files in ${join(state, 'logs')}.`,
  })
}

async function describeReady({ demo }: UpOptions, config: SiteConfig, site: Site): Promise<Ready> {
  const { db } = site.store
  // A site that had people of its own has none of these: whose names are told must not frighten its admins.
  const isDemo = demo && (await personByLogin(db, demoAccounts[0]?.login ?? '')) !== undefined
  return {
    url: config.url,
    setup: await setupLink(site),
    accounts: isDemo ? demoAccounts.map(({ login, password, about }) => ({ login, password, about })) : [],
    fingerprint: createHash('sha256').update(new X509Certificate(site.authority.rootPem).raw).digest('hex'),
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  await new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
