/**
 * An endpoint that is killed: `replicating-endpoint.rig.ts SITE CA-FILE ENDPOINT-DIR LOGIN` launches the workspace `lab`,
 * serves its disk, sends what is written on it, and says where the disk is.
 */
import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { launchHere } from '#apps/cli/launch-here.ts'
import { readEndpointCredentials, startEndpointAgent } from '#apps/endpoint/endpoint-agent.ts'
import { useReplicatedDisk } from './replicated-disk.rig.ts'
import { signIn } from './running-site.rig.ts'

const [url = '', caFile = '', dir = '', login = ''] = process.argv.slice(2)
const site = { url, ca: await readFile(caFile, 'utf8') }
const silent = { info: () => undefined, warn: () => undefined }
const agent = await startEndpointAgent({ dir, version: 'test', log: silent })
await agent.untilConnected(20_000)
const { credentials } = await signIn(site, login)
const endpoint = await readEndpointCredentials(dir)
const launched = await launchHere({ site, credentials: { ...credentials, endpoint } }, agent, 'lab')
if (launched.delivery.kind !== 'streamed-disk') throw new Error('expected a disk')
const runDir = join(dir, 'run', randomBytes(4).toString('hex'))
const { served, said } = await useReplicatedDisk({
  site,
  agent,
  dir,
  runDir,
  launched: { ...launched, delivery: launched.delivery },
  intervalMs: 20,
})
process.stdout.write(`${JSON.stringify({ runDir, record: served.record, said })}\n`)
