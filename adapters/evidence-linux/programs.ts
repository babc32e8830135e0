import { isOf, judgePrograms, type PostureRules, type WatchingCollector } from '#core/posture/index.ts'
import { listProcesses, readProcess, readProcesses } from './processes.ts'
import { watchGlance } from './watched.ts'

/** Looks whether the programs that the rules name are running. */
export function programsCollector(proc: string, { edr, antivirus }: PostureRules): WatchingCollector {
  const rules = [...edr, ...antivirus]
  return {
    name: 'programs',
    claims: [
      ...(edr.length > 0 ? (['endpoint.edr'] as const) : []),
      ...(antivirus.length > 0 ? (['endpoint.antivirus'] as const) : []),
    ],
    collect: async () => {
      if (rules.length === 0) return []
      const processes = readProcesses(proc)
      return [
        ...judgePrograms('endpoint.edr', edr, processes, 'programs'),
        ...judgePrograms('endpoint.antivirus', antivirus, processes, 'programs'),
      ]
    },
    watch: (changed, signal) => {
      if (rules.length > 0) watchGlance(runningGlance(proc, rules), changed, signal)
    },
  }
}

/**
 * Which of the programs run, at the cost of a list of process ids: only new processes are read, twice, since most begin as a copy of the
 * program that started them.
 */
function runningGlance(proc: string, rules: PostureRules['edr']): () => string {
  const glances = new Map<number, { count: number; isNamed: boolean }>()
  return () => {
    const pids = new Set(listProcesses(proc))
    for (const pid of glances.keys()) if (!pids.has(pid)) glances.delete(pid)
    for (const pid of pids) {
      const known = glances.get(pid) ?? { count: 0, isNamed: false }
      if (known.count >= 2) continue
      const process = readProcess(proc, pid)
      const isNamed = process !== undefined && rules.some((rule) => isOf(process, rule))
      glances.set(pid, { count: known.count + 1, isNamed })
    }
    return [...glances]
      .filter(([, { isNamed }]) => isNamed)
      .map(([pid]) => pid)
      .join()
  }
}
