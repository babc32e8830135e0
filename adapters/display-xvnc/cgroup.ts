import { access, mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { DisplayLimits } from '#core/broker/display.ts'
import { identify, kill } from './processes.ts'

/** Where this machine keeps its cgroups: version 2, version 1 controllers, both at once, or nothing. */
export interface CgroupMounts {
  readonly unified?: string
  readonly memory?: string
  readonly pids?: string
  readonly cpu?: string
  readonly freezer?: string
}

/** The cgroups of one agent, one child for each session. Any number of calls at once. */
export interface Cgroups {
  /** True when a process of a session cannot get away from `kill`. */
  readonly contain: boolean
  /** Makes a session's cgroup; idempotent. Resolves with the directories that its processes must join. */
  create(id: string): Promise<readonly string[]>
  /** Sets what can be set and names the limits that this machine cannot enforce. */
  limit(id: string, limits: DisplayLimits): Promise<readonly (keyof DisplayLimits)[]>
  /** Live processes in it. */
  processes(id: string): Promise<readonly number[]>
  /** Bytes without file cache that the kernel would drop first; undefined when nobody counts them. */
  memory(id: string): Promise<number | undefined>
  /** True when the kernel has killed some process of it for want of memory. */
  starved(id: string): Promise<boolean>
  /** Ends every process in it and removes it; idempotent. */
  kill(id: string): Promise<void>
  /** Sessions that have a cgroup. */
  list(): Promise<readonly string[]>
  /** Removes the agent's own cgroup unless sessions are left in it. The last call. */
  close(): Promise<void>
}

const controllers = ['memory', 'pids', 'cpu', 'freezer'] as const

/**
 * Reads the cgroup mounts out of /proc/self/mountinfo.
 *
 * Spec: proc_pid_mountinfo(5): field 5 is the mount point; after " - " come type, source and super options.
 */
export function parseMountinfo(text: string): CgroupMounts {
  const mounts: Partial<Record<keyof CgroupMounts, string>> = {}
  for (const line of text.split('\n')) {
    const [before = '', after = ''] = line.split(' - ')
    const point = before.split(' ')[4]
    const [type, , options = ''] = after.split(' ')
    if (point === undefined) continue
    if (type === 'cgroup2') mounts.unified ??= point
    if (type !== 'cgroup') continue
    for (const name of controllers) if (options.split(',').includes(name)) mounts[name] ??= point
  }
  return mounts
}

/**
 * Opens the agent's cgroup `trustcast-TAG` at the top of each hierarchy, not below the agent's own: an init
 * that ends the agent's cgroup must not end sessions with it. A hierarchy that is not writable is left out.
 */
export async function openCgroups(tag: string, mounts: CgroupMounts): Promise<Cgroups> {
  const roots: Partial<Record<keyof CgroupMounts, string>> = {}
  for (const name of ['unified', ...controllers] as const) {
    const mount = mounts[name]
    if (mount === undefined) continue
    const root = join(mount, `trustcast-${tag}`)
    if (await mkdir(root, { recursive: true }).then(yes, no)) roots[name] = root
  }
  if (roots.unified !== undefined && mounts.unified !== undefined)
    for (const folder of [mounts.unified, roots.unified])
      for (const name of ['memory', 'pids', 'cpu'])
        await write(join(folder, 'cgroup.subtree_control'), `+${name}`)
  return cgroupsIn(roots)
}

function cgroupsIn(roots: CgroupMounts): Cgroups {
  const all = [...new Set(Object.values(roots))]
  const tracker = roots.unified ?? roots.freezer ?? roots.pids ?? roots.memory
  const processes = async (id: string): Promise<readonly number[]> =>
    tracker === undefined ? [] : liveIn(join(tracker, id))
  return {
    contain: tracker !== undefined,
    processes,
    async create(id) {
      const folders = all.map((root) => join(root, id))
      for (const folder of folders) await mkdir(folder, { recursive: true })
      return folders
    },
    limit: (id, limits) => setLimits(roots, id, limits),
    memory: (id) => workingSet(roots, id),
    starved: (id) => wasStarved(roots, id),
    async kill(id) {
      if (tracker !== undefined) await end(roots, tracker, id)
      for (const root of all) await remove(join(root, id))
    },
    async list() {
      const entries = await Promise.all(all.map((root) => readdir(root, { withFileTypes: true })))
      const folders = entries.flat().filter((entry) => entry.isDirectory())
      return [...new Set(folders.map((entry) => entry.name))]
    },
    async close() {
      for (const root of all) await rmdir(root).catch(() => undefined)
    },
  }
}

/**
 * Spec: Linux cgroup-v2.rst: memory.max, memory.swap.max, pids.max, cpu.max "QUOTA PERIOD";
 * cgroup-v1: memory.limit_in_bytes, memory.memsw.limit_in_bytes, pids.max, cpu.cfs_quota_us and _period_us.
 */
async function setLimits(
  roots: CgroupMounts,
  id: string,
  limits: DisplayLimits,
): Promise<readonly (keyof DisplayLimits)[]> {
  const period = 100_000
  const quota = Math.round((period * limits.cpuPercent) / 100)
  const bytes = String(limits.memoryMiB * 1024 * 1024)
  const set = async (root: string | undefined, file: string, value: string): Promise<boolean> =>
    root !== undefined && write(join(root, id, file), value)
  const failed: (keyof DisplayLimits)[] = []

  const memory =
    (await set(roots.memory, 'memory.limit_in_bytes', bytes)) ||
    (await set(roots.unified, 'memory.max', bytes))
  if (!memory) failed.push('memoryMiB')
  // Swap would only slow a hog down, not stop it; a kernel without swap accounting has no such file.
  await set(roots.memory, 'memory.memsw.limit_in_bytes', bytes)
  await set(roots.unified, 'memory.swap.max', '0')

  const pids =
    (await set(roots.pids, 'pids.max', String(limits.processes))) ||
    (await set(roots.unified, 'pids.max', String(limits.processes)))
  if (!pids) failed.push('processes')

  const cpu =
    ((await set(roots.cpu, 'cpu.cfs_period_us', String(period))) &&
      (await set(roots.cpu, 'cpu.cfs_quota_us', String(quota)))) ||
    (await set(roots.unified, 'cpu.max', `${quota} ${period}`))
  if (!cpu) failed.push('cpuPercent')
  return failed
}

/** Spec: Linux cgroup-v2.rst memory.current, memory.stat inactive_file; version 1 the same as usage_in_bytes, total_inactive_file. */
async function workingSet(roots: CgroupMounts, id: string): Promise<number | undefined> {
  const root = roots.memory ?? roots.unified
  if (root === undefined) return undefined
  const file = roots.memory === undefined ? 'memory.current' : 'memory.usage_in_bytes'
  try {
    const used = Number(await readFile(join(root, id, file), 'utf8'))
    const statistics = await readFile(join(root, id, 'memory.stat'), 'utf8')
    const cache = /^(?:total_)?inactive_file (\d+)$/gm
    const idle = [...statistics.matchAll(cache)].map((match) => Number(match[1]))
    return used - Math.max(0, ...idle)
  } catch {
    return undefined
  }
}

/** Spec: Linux cgroup-v2.rst memory.events oom_kill; version 1 the same in memory.oom_control. */
async function wasStarved({ memory, unified }: CgroupMounts, id: string): Promise<boolean> {
  const file = memory === undefined ? 'memory.events' : 'memory.oom_control'
  const text = await readFile(join(memory ?? unified ?? '', id, file), 'utf8').catch(() => '')
  return /^oom_kill [1-9]/m.test(text)
}

/** cgroup.kill where the kernel has it; else freeze, so that nothing forks meanwhile, kill and thaw. */
async function end(roots: CgroupMounts, tracker: string, id: string): Promise<void> {
  const folder = join(tracker, id)
  if (!(await access(folder).then(yes, no))) return
  await write(join(folder, 'cgroup.kill'), '1')
  const freezer = roots.freezer && join(roots.freezer, id, 'freezer.state')
  for (let round = 0; round < 2000; round++) {
    if (freezer) await write(freezer, 'FROZEN')
    const pids = await liveIn(folder)
    for (const pid of pids) kill(pid)
    if (freezer) await write(freezer, 'THAWED')
    if (pids.length === 0) return
    await delay(5)
  }
  throw new Error(`processes of ${folder} outlive SIGKILL`)
}

async function liveIn(folder: string): Promise<readonly number[]> {
  const text = await readFile(join(folder, 'cgroup.procs'), 'utf8').catch(() => '')
  const pids = text.split('\n').filter(Boolean).map(Number)
  const found = await Promise.all(pids.map(identify))
  return found.flatMap((process) => (process ? [process.pid] : []))
}

/** A directory of cgroups stays busy until its zombies are reaped, which init may do late. */
async function remove(folder: string): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const code = await rmdir(folder).then(
      () => 'ENOENT',
      (cause: NodeJS.ErrnoException) => cause.code,
    )
    if (code === 'ENOENT') return
    await delay(50)
  }
}

async function write(file: string, value: string): Promise<boolean> {
  return access(file)
    .then(() => writeFile(file, value))
    .then(yes, no)
}

const yes = (): boolean => true
const no = (): boolean => false
