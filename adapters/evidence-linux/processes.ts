import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { type ProcessFacts, parseProcessStatus } from '#core/posture/index.ts'

/*
 * The kernel answers these reads from memory at once. Waiting for a thread to do them costs ten times what they cost, and some are done
 * every second.
 */

const maxProcesses = 32_768

/** @returns ids of all processes */
export function listProcesses(proc: string): readonly number[] {
  return readdirSync(proc)
    .filter((name) => /^\d+$/.test(name))
    .slice(0, maxProcesses)
    .map(Number)
}

/** @returns undefined when it has ended; without its executable where that may not be read */
export function readProcess(proc: string, pid: number): ProcessFacts | undefined {
  const folder = join(proc, String(pid))
  const status = parseProcessStatus(attempt(() => readFileSync(join(folder, 'status'), 'utf8')) ?? '')
  if (status === undefined) return undefined
  const executable = attempt(() => readlinkSync(join(folder, 'exe')))
  const groups = attempt(() => readFileSync(join(folder, 'cgroup'), 'utf8'))
  return { pid, ...status, executable, group: groupIn(groups ?? '') }
}

/** @returns every process that could be read, without threads of the kernel */
export function readProcesses(proc: string): readonly ProcessFacts[] {
  return listProcesses(proc).flatMap((pid) => {
    const process = readProcess(proc, pid)
    return process === undefined || process.parent === 2 || pid === 2 ? [] : [process]
  })
}

/** @returns what traces a process; 0: nothing, also when it has ended */
export function tracerOf(proc: string, pid: number): number {
  const text = attempt(() => readFileSync(join(proc, String(pid), 'status'), 'utf8')) ?? ''
  return parseProcessStatus(text)?.tracer ?? 0
}

/** The words of a process, of which some may be secrets: for comparing here, never to be sent. */
export function wordsOf(proc: string, pid: number): readonly string[] {
  return (attempt(() => readFileSync(join(proc, String(pid), 'cmdline'), 'utf8')) ?? '').split('\0')
}

/** @returns undefined for a process that has ended meanwhile, and for what may not be read */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}

/** `/proc/PID/cgroup`, cgroups(7): `0::/system.slice/example.service`, or systemd's own hierarchy of version 1. */
function groupIn(text: string): string | undefined {
  const lines = text.split('\n').map((line) => line.split(':'))
  const own = lines.find(([id, controllers]) => id === '0' && controllers === '')
  const named = lines.find(([, controllers]) => controllers === 'name=systemd')
  return (named ?? own)?.slice(2).join(':')
}
