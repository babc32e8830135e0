import { url as inspectorUrl } from 'node:inspector'
import { judgeDebugger, type ProcessFacts, type WatchingCollector } from '#core/posture/index.ts'
import { readProcesses, tracerOf, wordsOf } from './processes.ts'
import { watchGlance } from './watched.ts'

/** Looks whether somebody reads or changes our programs while they run: this one, those it started, virtual machines. */
export function debuggersCollector(proc: string): WatchingCollector {
  let ours: readonly number[] = [process.pid]
  return {
    name: 'debuggers',
    claims: ['endpoint.debugger'],
    collect: async () => {
      const all = readProcesses(proc)
      const own = ownProcesses(proc, all)
      ours = own.map(({ pid }) => pid)
      return [judgeDebugger({ ours: own, all, hasInspector: inspectorUrl() !== undefined })]
    },
    watch: (changed, signal) =>
      watchGlance(
        () => {
          // Processes that came or went are no news, tracers are.
          const tracers = ours.map((pid) => tracerOf(proc, pid)).filter((tracer) => tracer !== 0)
          return `${inspectorUrl()} ${tracers.join()}`
        },
        changed,
        signal,
      ),
  }
}

/** Ourselves, our descendants, other processes of the same program, and QEMU wherever it was started. */
function ownProcesses(proc: string, all: readonly ProcessFacts[]): readonly ProcessFacts[] {
  const [, program = ''] = process.argv
  const children = Map.groupBy(all, ({ parent }) => parent)
  const pids = new Set([process.pid])
  for (const one of all) {
    const isOurProgram = one.executable === process.execPath && wordsOf(proc, one.pid).includes(program)
    if (isOurProgram || /\/qemu-system-[^/]+$/.test(one.executable ?? '')) pids.add(one.pid)
  }
  // A set may grow while it is walked.
  for (const pid of pids) for (const child of children.get(pid) ?? []) pids.add(child.pid)
  return all.filter(({ pid }) => pids.has(pid))
}
