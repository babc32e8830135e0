import type { Collector, Observation } from '#core/evidence/observation.ts'
import type { ClaimName } from '#core/trust/index.ts'
import { unknown } from './observe.ts'
import type { PostureRules } from './rules.ts'

/** How a command ended. */
export interface CommandOutput {
  /** Its exit status; undefined when it did not come to one: not there, killed, too long. */
  readonly status: number | undefined
  readonly stdout: string
  readonly stderr: string
}

/** What judging needs beside the facts. */
export interface Judging {
  readonly rules: PostureRules
  /** Unix time, ms. */
  readonly now: number
}

/** A fact that one command tells. */
export interface CommandProbe {
  readonly name: string
  readonly claims: readonly ClaimName[]
  /** Program and words; never through a shell. */
  readonly command: readonly [program: string, ...words: string[]]
  /** @returns at most one observation for each claim */
  judge(output: CommandOutput, judging: Judging): readonly Observation[]
}

/** Looks by running a probe's command. What it does not answer is unknown. */
export function probing(
  probe: CommandProbe,
  run: (command: CommandProbe['command'], signal: AbortSignal) => Promise<CommandOutput>,
  judging: () => Judging,
): Collector {
  const { name, claims, command } = probe
  return {
    name,
    claims,
    collect: async (signal) => {
      const output = await run(command, signal)
      return output.status === undefined
        ? claims.map((claim) => unknown(claim, name, `${command[0]} gave no answer`))
        : probe.judge(output, judging())
    },
  }
}
