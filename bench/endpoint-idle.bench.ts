import { readdir, readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { startService } from '../interop/endpoint-service.rig.ts'
import { startSite } from '../interop/running-site.rig.ts'
import { method, report } from './report.ts'

/**
 * What the service of an endpoint costs while nothing runs, in processor time and memory, with the programs that its collectors start and
 * have running. Connected to a site, with evidence every 60 s and a portal that is open on the machine.
 */

const settleMs = 90_000
const measureMs = 180_000
const portalEveryMs = 15_000
const ticksPerSecond = 100

await using site = await startSite({ args: ['--hosts', '1', '--gateways', '1'] })
const admin = await site.signIn('ada')
await using service = await startService(site, admin, 'idle', { args: ['--port', '0'] })
await sleep(settleMs)

const before = await usage(service.pid)
const until = performance.now() + measureMs
while (performance.now() < until) {
  await service.status()
  await sleep(portalEveryMs)
}
const after = await usage(service.pid)
const seconds = measureMs / 1000

method(
  `\`trustcast endpoint\` of a device on which nothing runs, over ${seconds} s after ${settleMs / 1000} s to settle; with its evidence, and a portal that asks every ${portalEveryMs / 1000} s`,
)
report('endpoint-idle.cpu', (100 * (after.cpu - before.cpu)) / seconds, '% of a core', {
  goal: { of: 'value', atMost: 1 },
})
report('endpoint-idle.memory', after.memoryMib, 'MiB', { goal: { of: 'value', atMost: 120 } })

/**
 * Of the process and all below it: seconds of processor time, also of those that have ended, and resident memory. What they share counts
 * for each: on a device there is nobody else to share it with.
 */
async function usage(pid: number): Promise<{ readonly cpu: number; readonly memoryMib: number }> {
  const below = await Promise.all((await childrenOf(pid)).map(usage))
  const all = [{ cpu: await cpuOf(pid), memoryMib: await residentOf(pid) }, ...below]
  return {
    cpu: all.reduce((sum, { cpu }) => sum + cpu, 0),
    memoryMib: all.reduce((sum, { memoryMib }) => sum + memoryMib, 0),
  }
}

/** proc(5): utime, stime, cutime and cstime, the latter two of children that have ended, are fields 14 to 17 of `stat`. */
async function cpuOf(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0) / ticksPerSecond
}

async function residentOf(pid: number): Promise<number> {
  const [, kib] = /^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kib) / 1024
}

async function childrenOf(pid: number): Promise<readonly number[]> {
  const tasks = await readdir(`/proc/${pid}/task`)
  const lists = await Promise.all(tasks.map((task) => readFile(`/proc/${pid}/task/${task}/children`, 'utf8')))
  return lists.flatMap((list) => list.split(' ').filter(Boolean).map(Number))
}
