import { spawn } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import {
  createIdentityKey,
  issueLeaf,
  longestLeafMs,
  openAuthority,
  verifyRequest,
} from '#adapters/pki-x509/index.ts'
import { launchDisk } from '#apps/endpoint/launch-disk.ts'
import { firstBoot, verifyBoot } from '#apps/site/endpoints/attesting.ts'
import { endpointClaimsAnswer } from '#core/api/evidence.ts'
import { claimsOf, noKnowledge, type Observation } from '#core/evidence/index.ts'
import { compilePolicy, decide, defaultPolicy } from '#core/policy/index.ts'
import { deliveryModes, trustContext } from '#core/trust/index.ts'
import { diskOf, enrolEndpoint } from '../interop/enrolled-endpoint.rig.ts'
import { toldObserver } from '../interop/observed-endpoint.rig.ts'
import { diskWorkspace, publishForTest } from '../interop/published-release.rig.ts'
import { startSite, until } from '../interop/running-site.rig.ts'
import { openDatabase } from '../interop/site-database.rig.ts'
import type { Fleet, FleetCount } from './fleet.ts'
import { median, method, quantile, report } from './report.ts'
import { createSimulatedKey, simulateQuote } from './simulated-tpm.ts'

/** What many endpoints cost a site node, and how fast a change on one of them has its effect. */

const endpoints = Number(process.env['TRUSTCAST_BENCH_ENDPOINTS'] ?? 10_000)
const steadyMs = 60_000
const turns = 40
const ticksPerSecond = 100

method(
  `${endpoints} endpoints in a process of their own, each with its own certificate, attestation key, TLS connection and WebSocket, every 60 s twelve observations, ` +
    `signed, with a quote over them, against one site node with its PostgreSQL on the same machine; processor time of the node over ${steadyMs / 1000} s once all report. ` +
    `The attestation keys are in memory instead of TPMs and were never activated, as an enrolment would; their quotes are real, of a recorded boot, whose log follows when the site asks. ` +
    `Then, under that load, ${turns} times: a real agent's collector sees a fault, until the lease of its streamed disk is over on the endpoint. ` +
    'At the end the node is killed and started again, and all come back at once.',
)

await using site = await startSite({ args: ['--hosts', '1', '--gateways', '1', '--warm', '0'] })
await using database = await openDatabase(site)
const ada = await site.signIn('ada')
const [pid = 0] = await site.pidsOf('site')
const folder = await mkdtemp(join(tmpdir(), 'tc-fleet-'))

decisions()
await using fleet = await startFleet()
await untilAllReport()
await steady()
await changeToEffect()
await siteComesBack()
await rm(folder, { recursive: true })

/** From what the site keeps of an endpoint to a decision over every mode. */
function decisions(): void {
  const policy = compilePolicy(defaultPolicy)
  const now = Date.now()
  const observations: readonly Observation[] = [
    { claim: 'endpoint.antivirus', value: 'off', collector: 'clamd', detail: '' },
  ]
  const knowledge = {
    ...noKnowledge,
    lastAt: now,
    observations,
    seen: { clock: 'right', interception: 'none' },
  } as const
  const times = Array.from({ length: 2_000 }, () => {
    const from = performance.now()
    const claims = claimsOf(knowledge, [], now)
    const zone = { name: 'office', kind: 'inside' } as const
    const context = trustContext({ person: { id: 'p', groups: ['employees'] }, claims, zone, now })
    const workspace = { id: 'w', collections: [], modes: [...deliveryModes] }
    decide(policy, { context, workspace, available: () => undefined })
    return performance.now() - from
  }).slice(500)
  report('endpoints.claims-to-decision.p50', median(times), 'ms')
  report('endpoints.claims-to-decision.p99', quantile(times, 0.99), 'ms', {
    goal: { of: 'value', atMost: 10 },
  })
}

/** Certificates as the site issues them, and rows as an enrolment leaves them. */
async function startFleet() {
  const authority = await openAuthority(join(site.state, 'pki'))
  const members: Fleet['members'][number][] = []
  const publicAreas: Buffer[] = []
  const now = Date.now()
  while (members.length < endpoints) {
    const id = randomUUID()
    const { requestPem, privateKeyPem } = await createIdentityKey()
    const order = {
      publicKey: verifyRequest(requestPem),
      role: 'endpoint',
      id,
      usages: 'client',
      lifetimeMs: longestLeafMs,
      now,
    } as const
    const { chainPem } = await issueLeaf(authority, order)
    const { publicArea, privateKey } = createSimulatedKey()
    const akPrivatePem = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
    members.push({ id, privateKeyPem, chainPem, akPrivatePem })
    publicAreas.push(publicArea)
  }
  await database.rows(
    `insert into agents (id, kind, name, dns_names, pool, certificate_expires_at, report, device_key, ak_public, boot)
     select id::uuid, 'endpoint', 'fleet-' || id, '{}', 'default', now() + interval '1 day', '{}', 'tpm', ak, $3::jsonb
     from unnest($1::text[], $2::bytea[]) as member (id, ak)`,
    [members.map(({ id }) => id), publicAreas, bootAtEnrolment(now)],
  )
  const told: Fleet = {
    siteId: authority.siteId,
    rootPem: authority.rootPem,
    agentUrl: `https://localhost:${site.port + 1}`,
    members,
  }
  const file = join(folder, 'fleet.json')
  await writeFile(file, JSON.stringify(told))
  const child = spawn(process.execPath, [join(import.meta.dirname, 'fleet.ts'), file], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit')
  let last: FleetCount = { connected: 0, sent: 0, refused: 0, lost: 0 }
  createInterface(child.stdout).on('line', (line) => {
    last = JSON.parse(line) as FleetCount
  })
  return {
    count: () => last,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL')
      await exited
    },
  }
}

/** The node ends without a word and is started again: all endpoints come back at once, and none may look as if it had fallen silent. */
async function siteComesBack(): Promise<void> {
  const from = Date.now()
  process.kill(pid, 'SIGKILL')
  const heard = async () => {
    const [row] = await database.rows(
      `select count(*) filter (where e.last_at > $1)::int as back, count(*) filter (where e.silent)::int as silent,
         count(e.forked_at)::int as forked
       from endpoint_evidence e join agents a on a.id = e.endpoint_id where a.name like 'fleet-%'`,
      [new Date(from)],
    )
    const [back, silent, forked] = ['back', 'silent', 'forked'].map((name) => Number(row?.[name]))
    return { back: back ?? 0, silent: silent ?? 0, forked: forked ?? 0 }
  }
  let [silent, forked] = [0, 0]
  const areAllBack = async (): Promise<boolean> => {
    await sleep(1_000)
    const now = await heard()
    silent = Math.max(silent, now.silent)
    forked = now.forked
    return now.back >= endpoints
  }
  await until(areAllBack, 'all endpoints are back', 900_000)
  report('endpoints.return', (Date.now() - from) / 1000, 's')
  report('endpoints.silent-by-return', silent, 'endpoints', { goal: { of: 'value', atMost: 0 } })
  report('endpoints.forked-by-return', forked, 'endpoints', { goal: { of: 'value', atMost: 0 } })
}

/** What the site keeps of the boot that an enrolment's quote told of. */
function bootAtEnrolment(now: number): string {
  const { publicArea, privateKey } = createSimulatedKey()
  const extraData = randomBytes(32)
  const quote = simulateQuote(privateKey, extraData, { withLog: false })
  const { boot, resetCount } = verifyBoot(publicArea, quote, extraData)
  return JSON.stringify(firstBoot(boot, resetCount, now))
}

async function untilAllReport(): Promise<void> {
  const from = performance.now()
  await until(
    async () => {
      await sleep(1_000)
      return (await reportingEndpoints()) >= endpoints
    },
    `${endpoints} endpoints report (${JSON.stringify(fleet.count())})`,
    3_600_000,
  )
  report('endpoints.arrival', endpoints / ((performance.now() - from) / 1000), 'endpoints/s')
  // Until what so many did at once is worked off, and their reports lie anywhere in the period.
  await sleep(150_000)
}

async function reportingEndpoints(): Promise<number> {
  const [row] = await database.rows(
    // The log of a boot is told once, and costs more than all else.
    `select count(*)::int as n from endpoint_evidence e join agents a on a.id = e.endpoint_id
     where not e.silent and e.attested ->> 'deviceKey' = 'tpm' and a.boot -> 'current' -> 'components' is not null`,
  )
  return Number(row?.['n'])
}

async function steady(): Promise<void> {
  const sentBefore = fleet.count().sent
  const before = await processorSeconds(pid)
  const from = performance.now()
  let mebibytes = 0
  while (performance.now() - from < steadyMs) {
    await sleep(2_000)
    mebibytes = Math.max(mebibytes, await residentMiB(pid))
  }
  const seconds = (performance.now() - from) / 1000
  const share = (((await processorSeconds(pid)) - before) / seconds) * 100
  const { sent, refused, lost } = fleet.count()
  report('endpoints.reports', (sent - sentBefore) / seconds, 'reports/s')
  report('endpoints.node.cpu', share, '% of a core', { goal: { of: 'value', atMost: 25 } })
  report('endpoints.node.memory', mebibytes, 'MiB', { goal: { of: 'value', atMost: 500 } })
  report('endpoints.refused-or-lost', refused + lost, 'endpoints', { goal: { of: 'value', atMost: 0 } })
}

async function changeToEffect(): Promise<void> {
  await publishForTest(ada, 'office')
  const lab = diskWorkspace('office')
  await ada.send('PUT', `/admin/workspaces/${lab.id}`, lab, z.unknown())
  const observer = toldObserver()
  await using laptop = await enrolEndpoint(site, ada, 'laptop', { report: { observers: [observer] } })
  const nora = await site.signIn('nora')
  const times: number[] = []
  while (times.length < turns) {
    await until(async () => (await antivirusOf(laptop.agent.id)) === 'unknown', 'nothing bad is known')
    const made = await laptop.launch(nora, 'lab')
    const opened = Promise.withResolvers<void>()
    const stats = { bytesFetched: 0, bytesLocal: 0, percentLocal: 0, cacheHits: 0, bytesWritten: 0 }
    const end = launchDisk(laptop.agent, { ...made, delivery: diskOf(made) }, async () => {
      opened.resolve()
      return {
        run: () => new Promise<void>(() => undefined),
        stats: () => stats,
        [Symbol.asyncDispose]: async () => undefined,
      }
    })
    await Promise.race([opened.promise, end])
    // At any time of what the agent and the site do by themselves.
    await sleep(Math.random() * 3_000)
    const from = performance.now()
    observer.see('endpoint.antivirus', 'off')
    const { code } = await end
    if (code !== 'LEASE_WITHDRAWN') throw new Error(`expected LEASE_WITHDRAWN, got ${code}`)
    times.push(performance.now() - from)
    observer.see('endpoint.antivirus', 'on')
  }
  report('endpoints.change-to-effect.p50', median(times) / 1000, 's', { goal: { of: 'value', atMost: 2 } })
  report('endpoints.change-to-effect.p99', quantile(times, 0.99) / 1000, 's', {
    goal: { of: 'value', atMost: 5 },
  })
}

async function antivirusOf(id: string): Promise<string | undefined> {
  const { claims } = await ada.get(`/endpoints/${id}/claims`, endpointClaimsAnswer)
  return claims.find(({ name }) => name === 'endpoint.antivirus')?.value
}

async function processorSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number)
  const [user = 0, system = 0] = fields.slice(11, 13)
  return (user + system) / ticksPerSecond
}

async function residentMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024
}
