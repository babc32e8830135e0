import type { Observation } from '#core/evidence/observation.ts'
import { observe, unknown } from '../observe.ts'
import { nameOf, type ProcessFacts } from '../programs.ts'

/** Programs that read and change other programs. */
const knownDebuggers = new Set([
  'gdb',
  'gdbserver',
  'lldb',
  'lldb-server',
  'strace',
  'ltrace',
  'frida-server',
  'radare2',
  'rr',
  'edb',
  'scanmem',
  'bpftrace',
])

const claim = 'endpoint.debugger'
const collector = 'debuggers'

/** What looks at our own programs. */
export interface DebuggerFacts {
  /** Trustcast's own processes and those it started, QEMU among them. */
  readonly ours: readonly ProcessFacts[]
  readonly all: readonly ProcessFacts[]
  /** Node's own inspector listens in this process. */
  readonly hasInspector: boolean
}

/** A debugger that runs beside us is no proof of anything, but who says then that there is none? */
export function judgeDebugger({ ours, all, hasInspector }: DebuggerFacts): Observation {
  if (hasInspector) return observe(claim, 'attached', collector, 'an inspector is open in Trustcast')
  const traced = ours.find(({ tracer = 0 }) => tracer !== 0)
  if (traced !== undefined) {
    const tracer = all.find(({ pid }) => pid === traced.tracer)
    // What else runs here, and what a person calls it, is nobody's business.
    const isKnown = tracer !== undefined && knownDebuggers.has(nameOf(tracer))
    const name = isKnown ? nameOf(tracer) : 'a debugger'
    return observe(claim, 'attached', collector, `${name} is attached to Trustcast or what it started`)
  }
  if (ours.length === 0) return unknown(claim, collector, 'our own processes cannot be read')
  const beside = all.find((process) => knownDebuggers.has(nameOf(process)))
  return beside === undefined
    ? observe(claim, 'absent', collector, 'no debugger is attached to Trustcast')
    : unknown(claim, collector, `${nameOf(beside)} runs here, not attached to Trustcast`)
}

/** `/proc/PID/status`, proc_pid_status(5): `Name:\tnode`, `PPid:\t1`, `TracerPid:\t0`, `Uid:` and four ids, the second of which counts. */
export function parseProcessStatus(
  text: string,
): Pick<ProcessFacts, 'name' | 'parent' | 'tracer' | 'uid'> | undefined {
  const field = (name: string): string | undefined => new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(text)?.[1]
  const name = field('Name')
  const parent = Number(field('PPid'))
  const tracer = Number(field('TracerPid'))
  const uid = Number(field('Uid')?.split('\t')[1])
  return name === undefined || !Number.isSafeInteger(parent) || !Number.isSafeInteger(tracer)
    ? undefined
    : { name, parent, tracer, ...(Number.isSafeInteger(uid) && { uid }) }
}
