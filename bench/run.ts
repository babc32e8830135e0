import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { cpus, loadavg, release } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { table } from '#apps/cli/command.ts'
import type { Figure, Method } from './report.ts'

/**
 * `npm run bench [NAME…]`: runs each benchmark as a process of its own and writes `results.md`. A benchmark that was not
 * asked for keeps its part there. Ends with 1 when a goal was missed or a benchmark failed.
 */

const folder = import.meta.dirname
const resultsPath = join(folder, 'results.md')
const ending = '.bench.ts'
const missed = '**missed**'
const headings = ['figure', 'ours', 'peer', 'ratio', 'goal', 'verdict']

const known = (await readdir(folder))
  .filter((file) => file.endsWith(ending))
  .map((file) => file.slice(0, -ending.length))
const wanted = process.argv.length > 2 ? process.argv.slice(2) : known.toSorted()
const unknown = wanted.filter((name) => !known.includes(name))
if (unknown.length > 0) {
  console.error(`BENCH_UNKNOWN: expected names among ${known.join(', ')}, got ${unknown.join(', ')}`)
  process.exit(2)
}

const sections = await readSections()
for (const name of wanted) {
  console.log(`\n${name}`)
  const section = await run(name)
  sections.set(name, section)
  await writeFile(resultsPath, document(sections))
  if (section.includes(missed)) process.exitCode = 1
}

/** Runs one benchmark; what it found, as a part of the results. */
async function run(name: string): Promise<string> {
  const circumstances = describeMachine()
  const child = spawn(process.execPath, [...process.execArgv, join(folder, name + ending)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    // A shell that has it costs who attaches a disk 30 to 40 ms, and a fresh machine has none.
    env: { ...process.env, NODE_EXTRA_CA_CERTS: undefined },
  })
  const exited = once(child, 'exit')
  const figures: Figure[] = []
  let how = ''
  for await (const text of createInterface(child.stdout)) {
    const line = JSON.parse(text) as Figure | Method
    if ('method' in line) how = line.method
    else figures.push(line)
  }
  const [code] = (await exited) as [number | null]
  console.log(table(headings, figures.map(cellsOf)))
  const rows = [headings, headings.map(() => '---'), ...figures.map(cellsOf)]
  return [
    `## ${name}`,
    how,
    circumstances,
    rows.map((cells) => `| ${cells.join(' | ')} |`).join('\n'),
    ...(code === 0 ? [] : [`This benchmark failed before its end: ${missed}.`]),
  ].join('\n\n')
}

function cellsOf({ name, value, unit, peer, peerValue, ratio, goal, ok }: Figure): readonly string[] {
  return [
    name,
    `${value} ${unit}`,
    peer === undefined ? '' : `${peerValue} ${unit} (${peer})`,
    String(ratio ?? ''),
    goal ?? '',
    ok === undefined ? '' : ok ? 'met' : missed,
  ]
}

function describeMachine(): string {
  const processors = cpus()
  const [load = 0] = loadavg()
  const shared =
    load > processors.length / 4
      ? `Other work shared the machine: load ${load.toFixed(1)} at the start.`
      : `The machine was idle: load ${load.toFixed(1)} at the start.`
  const date = new Date().toISOString().slice(0, 10)
  return `${date}, ${processors.length} × ${processors[0]?.model}, Linux ${release()}, Node ${process.versions.node}. ${shared}`
}

/** The parts of the results by their names. */
async function readSections(): Promise<Map<string, string>> {
  const text = await readFile(resultsPath, 'utf8').catch(() => '')
  const parts = text.split(/^(?=## )/m).slice(1)
  return new Map(parts.map((part) => [/^## (\S+)/.exec(part)?.[1] ?? '', part.trim()]))
}

function document(sections: ReadonlyMap<string, string>): string {
  const parts = [...sections].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, part]) => part)
  const misses = parts.join('\n').split(missed).length - 1
  const head = [
    '# Benchmarks',
    'Written by `npm run bench`. Ratios are to a peer that was measured in the same run; below 1 is better than the peer, except for rates.',
    misses === 0 ? 'Every goal is met.' : `**${misses} missed**: see the verdicts.`,
  ]
  return `${[...head, ...parts].join('\n\n')}\n`
}
