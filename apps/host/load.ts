import { readFile } from 'node:fs/promises'

/** How busy this machine is. */
export interface Load {
  /** 0 to 100, over all processors, since the last measurement. */
  readonly cpuPercent: number
  readonly memoryFreeMiB: number
}

/** Processor time since boot, clock ticks. */
export interface CpuTicks {
  readonly busy: number
  readonly total: number
}

/** Measures this machine's load; each call looks at the time since the call before. */
export function createLoadMeter(): () => Promise<Load> {
  let before: CpuTicks = { busy: 0, total: 0 }
  return async () => {
    const [stat, meminfo] = await Promise.all([
      readFile('/proc/stat', 'utf8'),
      readFile('/proc/meminfo', 'utf8'),
    ])
    const now = parseCpuTicks(stat)
    const load = { cpuPercent: cpuPercent(before, now), memoryFreeMiB: parseAvailableMiB(meminfo) }
    before = now
    return load
  }
}

/**
 * The first line of /proc/stat. Guest time is in user time already.
 *
 * Spec: proc_stat(5): cpu user nice system idle iowait irq softirq steal guest guest_nice
 */
export function parseCpuTicks(stat: string): CpuTicks {
  const [, ...fields] = (stat.split('\n', 1)[0] ?? '').trim().split(/\s+/)
  const ticks = fields.slice(0, 8).map(Number)
  const total = ticks.reduce((sum, value) => sum + value, 0)
  return { busy: total - (ticks[3] ?? 0) - (ticks[4] ?? 0), total }
}

export function cpuPercent(before: CpuTicks, now: CpuTicks): number {
  const total = now.total - before.total
  const percent = total > 0 ? (100 * (now.busy - before.busy)) / total : 0
  // The kernel's idle and iowait counters may step back a little.
  return Math.round(Math.min(100, Math.max(0, percent)))
}

/** MemAvailable of /proc/meminfo: what programs can get without swapping. */
export function parseAvailableMiB(meminfo: string): number {
  return Math.floor(Number(/^MemAvailable:\s+(\d+) kB$/m.exec(meminfo)?.[1] ?? 0) / 1024)
}
