import { resolve } from 'node:path'
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'
import { usage } from './cli-error.ts'
import { printable } from './printable.ts'

/** One command of `trustcast`. */
export interface Command {
  /** What follows the command's name, as the help shows it. */
  readonly synopsis: string
  readonly summary: string
  /** Commands that follow this one's name; loaded when they are asked for. */
  readonly subcommands?: Readonly<Record<string, () => Promise<Command>>>
  run(args: readonly string[], out: Output): Promise<void>
}

/** Where results go: for people as text, with `--json` as one JSON value. INVARIANT: nothing in it moves the cursor of a terminal. */
export interface Output {
  readonly json: boolean
  /** The command's result. */
  result(value: unknown, asText: () => string): void
  /** Progress for people; nothing with `--json`. */
  say(line: string): void
  /** Ends when the person presses Ctrl-C or the process is asked to end. */
  readonly signal: AbortSignal
}

export interface Parsed {
  readonly positionals: readonly string[]
  text(name: string): string | undefined
  /** Of an option that may be given several times. */
  list(name: string): readonly string[]
  flag(name: string): boolean
}

/** Options whose folder is made where it is missing. Below /proc none can be, and Node's mkdir tries for ever. */
const folders = ['state', 'store', 'mount', 'root']

/**
 * Parses a command's words.
 *
 * @param count how many positionals there must be, or a least and a most
 * @throws {CliError} USAGE
 */
export function parse(
  args: readonly string[],
  options: ParseArgsOptionsConfig,
  count: readonly [least: number, most: number],
): Parsed {
  let parsed: { values: Record<string, unknown>; positionals: string[] }
  try {
    parsed = parseArgs({ args: [...args], options, allowPositionals: true, strict: true })
  } catch (cause) {
    throw usage(cause instanceof Error ? cause.message : 'the options are not known')
  }
  const { values, positionals } = parsed
  for (const name of folders)
    for (const folder of [values[name]].flat())
      if (typeof folder === 'string' && /^\/proc(?:\/|$)/.test(resolve(folder)))
        throw usage(`--${name} is below /proc, where no folder can be made`)
  const [least, most] = count
  if (positionals.length < least) throw usage('something is missing')
  if (positionals.length > most) throw usage(`${JSON.stringify(positionals[most])} is one word too many`)
  return {
    positionals,
    text: (name) => (typeof values[name] === 'string' ? values[name] : undefined),
    list: (name) => (Array.isArray(values[name]) ? (values[name] as readonly string[]) : []),
    flag: (name) => values[name] === true,
  }
}

/** A command that consists of others. */
export function commandGroup(
  summary: string,
  subcommands: Readonly<Record<string, () => Promise<Command>>>,
): Command {
  const names = Object.keys(subcommands)
  return {
    synopsis: `${names.join('|')} …`,
    summary,
    subcommands,
    run: async ([name = '', ...rest], out) => {
      const load = Object.hasOwn(subcommands, name) ? subcommands[name] : undefined
      if (load === undefined) throw usage(`expected one of ${names.join(', ')}`)
      await (await load()).run(rest, out)
    },
  }
}

/** Columns under headings, as wide as their widest cell; each cell is one line. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const shown = rows.map((row) => row.map(printable))
  const widths = headings.map((heading, column) =>
    Math.max(heading.length, ...shown.map((row) => row[column]?.length ?? 0)),
  )
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd()
  return [line(headings), ...shown.map(line)].join('\n')
}
