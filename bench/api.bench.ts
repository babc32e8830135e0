import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { Agent, request } from 'node:https'
import { makeProof, proofHeader } from '#core/identity/proof.ts'
import { type RunningSite, type SignedInClient, startSite } from '../interop/running-site.rig.ts'
import { median, method, quantile, report } from './report.ts'

/** How many decisions a site answers: the portal's tiles, each decided with its reasons and unlocks, every request proven. */

const sequential = 300
const concurrent = 600
const clients = 8
const ticksPerSecond = 100
const path = '/api/v1/workspaces'

method(
  `GET /workspaces of the demo (four workspaces, eight modes decided with unlocks), each request signed with the ` +
    `person's key over a kept connection; ${sequential} one after the other, then ${concurrent} by ${clients} clients at ` +
    'once, on the same machine as the site and its database.',
)
await using site = await startSite({ args: ['--hosts', '1', '--gateways', '1', '--warm', '0'] })
const [pid = 0] = await site.pidsOf('site')
const agent = new Agent({ keepAlive: true, maxSockets: clients, ca: site.address.ca })
// One sign-in has a pace of its own: these share the requests, as people do.
const signIns: SignedInClient[] = []
// One after the other: many at once look like guessing.
while (signIns.length < clients) signIns.push(await site.signIn('nora'))
let turn = 0
await inTurn(100)

const times = await inTurn(sequential)
report('api.workspaces.p50', median(times), 'ms')
report('api.workspaces.p99', quantile(times, 0.99), 'ms')

const before = await processorSeconds(pid)
const start = performance.now()
await Promise.all(Array.from({ length: clients }, () => inTurn(concurrent / clients)))
const seconds = (performance.now() - start) / 1000
report('api.workspaces.rate', concurrent / seconds, 'requests/s')
report(
  'api.workspaces.cpu',
  ((await processorSeconds(pid)) - before) * (1000 / concurrent),
  'ms of the site a request',
)
agent.destroy()

async function inTurn(count: number): Promise<readonly number[]> {
  const times: number[] = []
  for (let index = 0; index < count; index++) {
    const from = performance.now()
    const signIn = signIns[turn++ % clients]
    if (signIn !== undefined) await askForWorkspaces(site, signIn)
    times.push(performance.now() - from)
  }
  return times
}

async function askForWorkspaces(site: RunningSite, { credentials }: SignedInClient): Promise<void> {
  const { keyPair, cookie } = credentials
  const body = new Uint8Array()
  const proof = await makeProof({
    method: 'GET',
    path,
    body,
    keyPair,
    nowMs: Date.now(),
    random: randomBytes(16),
  })
  const status = await new Promise((resolve, reject) => {
    request(new URL(path, site.url), { agent, headers: { cookie, [proofHeader]: proof } }, (response) => {
      response
        .resume()
        .on('end', () => resolve(response.statusCode))
        .on('error', reject)
    })
      .on('error', reject)
      .end()
  })
  if (status !== 200) throw new Error(`expected 200, got ${String(status)}`)
}

async function processorSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond
}
