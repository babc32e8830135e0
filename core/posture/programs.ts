import type { Observation } from '#core/evidence/observation.ts'
import { observe } from './observe.ts'
import type { ProgramRule } from './rules.ts'

/** A running process, as far as anybody needs to know it. */
export interface ProcessFacts {
  readonly pid: number
  readonly parent: number
  /** Whose it is; on other systems than Linux absent. */
  readonly uid?: number | undefined
  /** The kernel's name of it, which a program can choose: only where the executable cannot be read. */
  readonly name: string
  /** Path of its executable. */
  readonly executable?: string | undefined
  /** Control group, as `/system.slice/example.service`; on other systems than Linux absent. */
  readonly group?: string | undefined
  /** Process that traces it; 0 or absent: none. */
  readonly tracer?: number | undefined
}

/** @returns `on` when every program that the rules name runs; nothing when they name none */
export function judgePrograms(
  claim: 'endpoint.edr' | 'endpoint.antivirus',
  rules: readonly ProgramRule[],
  processes: readonly ProcessFacts[],
  collector: string,
): readonly Observation[] {
  if (rules.length === 0) return []
  const missing = rules.filter((rule) => !processes.some((process) => isOf(process, rule)))
  return missing.length === 0
    ? [observe(claim, 'on', collector, `running: ${namesOf(rules)}`)]
    : [observe(claim, 'off', collector, `not running: ${namesOf(missing)}`)]
}

function namesOf(rules: readonly ProgramRule[]): string {
  return rules.map(({ name }) => name).join(', ')
}

/** @returns whether the process is one of the program's */
export function isOf(process: ProcessFacts, { process: pattern, unit }: ProgramRule): boolean {
  const groups = (process.group ?? '').split('/')
  // Units below `user@1000.service` are the person's own, of whatever name.
  if (unit !== undefined && (!groups.includes(unit) || groups.some((name) => name.startsWith('user@'))))
    return false
  return pattern === undefined || matches(pattern, nameFor(pattern, process))
}

function nameFor(pattern: string, process: ProcessFacts): string {
  return pattern.startsWith('/') ? pathOf(process) : nameOf(process)
}

/** @returns the file name of its executable, or what the kernel calls it */
export function nameOf(process: ProcessFacts): string {
  return (pathOf(process).split(/[/\\]/).at(-1) ?? '') || process.name
}

/** A program that was replaced on disk while it runs is still that program. */
function pathOf({ executable = '' }: ProcessFacts): string {
  return executable.replace(/ \(deleted\)$/, '')
}

/** `*` is any run of characters. In linear time: every piece is taken where it first occurs. */
function matches(pattern: string, text: string): boolean {
  const [head = '', ...pieces] = pattern.split('*')
  const tail = pieces.pop()
  if (tail === undefined) return pattern === text
  if (!text.startsWith(head)) return false
  let at = head.length
  for (const piece of pieces) {
    const found = text.indexOf(piece, at)
    if (found === -1) return false
    at = found + piece.length
  }
  return text.length - tail.length >= at && text.endsWith(tail)
}
