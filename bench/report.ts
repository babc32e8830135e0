/**
 * What every benchmark prints on its standard output, one JSON value a line: how it measures, and its figures.
 * `run.ts` reads it.
 */

/** What counts against the bound: the value itself, its ratio to the peer's or its difference from it. */
export interface Goal {
  readonly of: 'value' | 'ratio' | 'difference'
  readonly atMost?: number
  readonly atLeast?: number
}

export interface Figure {
  /** `bench.what` */
  readonly name: string
  readonly value: number
  /** Of the value and the peer's. */
  readonly unit: string
  readonly peer?: string
  readonly peerValue?: number
  /** The value divided by the peer's. */
  readonly ratio?: number
  /** For people. */
  readonly goal?: string
  readonly ok?: boolean
}

/** One sentence: how the figures that follow were measured. */
export interface Method {
  readonly method: string
}

/** Says how the figures that follow are measured, in one sentence. */
export function method(text: string): void {
  print({ method: text })
}

/** Prints a figure, with its verdict when there is a goal. */
export function report(
  name: string,
  value: number,
  unit: string,
  options: { readonly peer?: readonly [name: string, value: number]; readonly goal?: Goal } = {},
): void {
  const { peer, goal } = options
  print({
    name,
    value: rounded(value),
    unit,
    ...(peer && { peer: peer[0], peerValue: rounded(peer[1]), ratio: rounded(value / peer[1]) }),
    ...(goal && { goal: goalText(goal, unit, peer?.[0]), ok: isMet(goal, value, peer?.[1]) }),
  })
}

/** The value below which this share of the values lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

function isMet(
  { of, atMost = Infinity, atLeast = -Infinity }: Goal,
  value: number,
  peerValue = Number.NaN,
): boolean {
  const counts = { value, ratio: value / peerValue, difference: value - peerValue }[of]
  return counts <= atMost && counts >= atLeast
}

function goalText({ of, atMost, atLeast }: Goal, unit: string, peer = 'peer'): string {
  const bound = atMost === undefined ? `≥ ${atLeast}` : `≤ ${atMost}`
  return `${bound} ${{ value: unit, ratio: `× ${peer}`, difference: `${unit} more than ${peer}` }[of]}`
}

function rounded(value: number): number {
  return Number(value.toPrecision(3))
}

function print(line: Figure | Method): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
