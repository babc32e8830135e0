/**
 * How long an endpoint's own data stay in reach: those of a real VM, from an antivirus that stops, as the client's collectors see it,
 * and from a revocation.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { makeClamd } from '#adapters/evidence-linux/clamd.rig.ts'
import { createCollecting } from '#apps/endpoint/collecting.ts'
import { endpointCollectors, readPostureRules } from '#apps/endpoint/collectors.ts'
import type { DiskEnd } from '#apps/endpoint/launch-disk.ts'
import { LocalVms, type OpenVm } from '#apps/endpoint/vm/local-vms.ts'
import { releaseMetadata } from '#apps/site-client/release-metadata.ts'
import { endpointClaimsAnswer } from '#core/api/evidence.ts'
import { type EnrolledEndpoint, enrolEndpoint } from '../interop/enrolled-endpoint.rig.ts'
import { diskWorkspace, publishForTest } from '../interop/published-release.rig.ts'
import { startSite, until } from '../interop/running-site.rig.ts'
import { importTinyVm } from '../interop/tiny-guest.rig.ts'
import { median, method, quantile, report } from './report.ts'

const changes = 40
const revocations = 20
const policy = `
@id("vm-unless-antivirus-is-off")
@overlay("keep")
permit (principal, action == Action::"local-vm", resource)
when { context.endpoint.antivirus.value != "off" };
`

method(
  `A site, endpoints with the client's collectors for what a machine is, a real clamd, and a VM in QEMU (tcg) whose disk streams from a folder. ${changes} times clamd is killed, at any moment, until the VM is paused and its key is gone; ${revocations} times an endpoint is revoked while its VM runs, until its key and QEMU are gone.`,
)
await using undo = new AsyncDisposableStack()
const folder = await mkdtemp('/var/tmp/tc-bench-back-')
undo.defer(() => rm(folder, { recursive: true, force: true }))
const inFolder = (name: string): string => join(folder, name)
await mkdir(inFolder('clamd'))
const clamd = undo.use(await makeClamd(inFolder('clamd')))
await clamd.start()
await writeFile(inFolder('posture.yaml'), `clamdConfiguration: ${clamd.configuration}\n`)
const collectors = await endpointCollectors(await readPostureRules(inFolder('posture.yaml')))
const log = { info: () => undefined, warn: () => undefined }

const site = undo.use(await startSite({ args: ['--hosts', '1', '--gateways', '1'] }))
const ada = await site.signIn('ada')
const nora = await site.signIn('nora')
await ada.send('PUT', '/admin/policy', { text: policy }, z.unknown())
await publishForTest(ada, 'tiny', await importTinyVm(folder, 'tiny'))
const disk = { image: 'tiny', channel: 'production' } as const
const desk = diskWorkspace('tiny', { id: 'desk', modes: ['local-vm'], disk })
await ada.send('PUT', '/admin/workspaces/desk', desk, z.unknown())

{
  await using device = await enrol('laptop')
  const times: number[] = []
  while (times.length < changes) {
    const { open, end } = await device.run()
    await sleep(Math.random() * 3_000)
    const from = performance.now()
    const [ended] = await Promise.all([end, clamd.stop('SIGKILL')])
    expectWithdrawn(ended)
    times.push(performance.now() - from)
    if (open.vm.state !== 'withdrawn') throw new Error(`the VM is ${open.vm.state}`)
    await clamd.start()
  }
  const [p50, p99] = [median(times) / 1000, quantile(times, 0.99) / 1000]
  report('taking-back.antivirus-stops.p50', p50, 's', { goal: { of: 'value', atMost: 2 } })
  report('taking-back.antivirus-stops.p99', p99, 's', { goal: { of: 'value', atMost: 5 } })
}
{
  const times: number[] = []
  while (times.length < revocations) {
    await using device = await enrol(`stolen-${times.length}`)
    const { open, end } = await device.run()
    await sleep(Math.random() * 3_000)
    const from = performance.now()
    await ada.send('POST', `/admin/agents/${device.endpoint.agent.id}/revoke`, undefined, z.unknown())
    expectWithdrawn(await end)
    await until(() => !isAlive(open.vm.pid), 'QEMU is gone')
    times.push(performance.now() - from)
  }
  report('taking-back.revocation.p50', median(times) / 1000, 's')
  report('taking-back.revocation.worst', Math.max(...times) / 1000, 's', {
    goal: { of: 'value', atMost: 5 },
  })
}

interface Device extends AsyncDisposable {
  readonly endpoint: EnrolledEndpoint
  /** Has the VM run, or go on. */
  run(): Promise<{ readonly open: OpenVm; readonly end: Promise<DiskEnd> }>
}

async function enrol(name: string): Promise<Device> {
  await using made = new AsyncDisposableStack()
  const collecting = made.use(createCollecting({ collectors, everyMs: 120_000, log }))
  const endpoint = made.use(await enrolEndpoint(site, ada, name, { report: { observers: [collecting] } }))
  const vms = made.use(
    new LocalVms({
      dir: endpoint.dir,
      runDir: inFolder(`run-${name}`),
      memoryBytes: 16 << 20,
      storeOptions: {},
      fetch: releaseMetadata(site.address),
      warn: () => undefined,
    }),
  )
  const stack = made.move()
  return {
    endpoint,
    run: async () => {
      await until(async () => (await saidOfAntivirus(endpoint)) === 'on', 'the antivirus is seen', 60_000)
      const { delivery, nonce, askedAt } = await endpoint.launch(nora, 'desk', { switch: true })
      if (delivery.kind !== 'local-vm') throw new Error(`expected a VM, got ${delivery.kind}`)
      const opened = Promise.withResolvers<OpenVm>()
      const end = vms.run(endpoint.agent, { delivery, nonce, askedAt, onOpen: opened.resolve })
      end.catch(opened.reject)
      return { open: await opened.promise, end }
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

/** A device's own good word raises nothing: it only takes back the bad one. */
async function saidOfAntivirus({ agent }: EnrolledEndpoint): Promise<string | undefined> {
  const { claims } = await ada.get(`/endpoints/${agent.id}/claims`, endpointClaimsAnswer)
  return claims.find(({ name }) => name === 'endpoint.antivirus')?.selfReported
}

function expectWithdrawn({ code }: DiskEnd): void {
  if (code !== 'LEASE_WITHDRAWN') throw new Error(`expected LEASE_WITHDRAWN, got ${code}`)
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
