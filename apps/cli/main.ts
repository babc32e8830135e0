import { constants } from 'node:os'
import { isCoded } from '#core/errors/coded-error.ts'
import { CliError } from './cli-error.ts'
import type { Command, Output } from './command.ts'
import { warn } from './error-text.ts'
import { findOwnModules } from './own-modules.ts'
import { printableJson, printableLines } from './printable.ts'
import { version } from './version.ts'

/** Commands are loaded when they are asked for: `list` need not wait for what `up` needs. */
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  up: async () => (await import('./commands/up.ts')).up,
  site: async () => (await import('./commands/site.ts')).siteRole,
  gateway: async () => (await import('./commands/gateway.ts')).gatewayRole,
  host: async () => (await import('./commands/host.ts')).hostRole,
  beacon: async () => (await import('./commands/beacon.ts')).beacon,
  endpoint: async () => (await import('./commands/endpoint.ts')).endpointRole,
  enroll: async () => (await import('./commands/enroll.ts')).enroll,
  login: async () => (await import('./commands/login.ts')).login,
  logout: async () => (await import('./commands/login.ts')).logout,
  list: async () => (await import('./commands/person.ts')).list,
  status: async () => (await import('./commands/status.ts')).status,
  posture: async () => (await import('./commands/posture.ts')).posture,
  open: async () => (await import('./commands/open.ts')).open,
  launch: async () => (await import('./commands/launch.ts')).launch,
  sessions: async () => (await import('./commands/person.ts')).sessions,
  end: async () => (await import('./commands/person.ts')).end,
  explain: async () => (await import('./commands/person.ts')).explain,
  image: async () => (await import('./commands/image.ts')).image,
  key: async () => (await import('./commands/key.ts')).key,
  disk: async () => (await import('./commands/disk.ts')).disk,
  vm: async () => (await import('./commands/vm.ts')).vm,
  policy: async () => (await import('./commands/policy.ts')).policy,
  person: async () => (await import('./commands/deletion.ts')).person,
  workspace: async () => (await import('./commands/deletion.ts')).workspace,
  lease: async () => (await import('./commands/lease.ts')).lease,
  authority: async () => (await import('./commands/authority.ts')).authority,
  audit: async () => (await import('./commands/audit.ts')).audit,
}

/** Of a command that has something to end. */
let ending: AbortController | undefined
for (const stream of [process.stdout, process.stderr]) stream.on('error', endUnread)

// Before the first command is loaded.
findOwnModules()
const code = await main(process.argv.slice(2))
// What a failed command still holds open must not keep its process: whoever started it waits for the end.
if (code === 0) process.exitCode = 0
else process.exit(code)

async function main(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv
  if (name === undefined || name === 'help' || name === '--help') return help(rest)
  if (name === '--version') {
    process.stdout.write(`${version()}\n`)
    return 0
  }
  const load = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (load === undefined) return unknownCommand(name)
  const command = await load()
  if (rest.includes('--help')) return help([name, ...rest])
  try {
    await command.run(
      rest.filter((word) => word !== '--json'),
      output(rest.includes('--json')),
    )
    return Number(process.exitCode ?? 0)
  } catch (error) {
    return report(error, name, (await subcommandOf(command, rest)) ?? command)
  }
}

function output(json: boolean): Output {
  return {
    json,
    // Signals are taken over by commands that have something to end; the others just end.
    get signal() {
      ending ??= endOnSignals()
      return ending.signal
    },
    result: (value, asText) =>
      process.stdout.write(`${json ? printableJson(value) : printableLines(asText())}\n`),
    say: (line) => {
      if (!json) process.stdout.write(`${printableLines(line)}\n`)
    },
  }
}

function endOnSignals(): AbortController {
  const controller = new AbortController()
  let asked = 0
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      controller.abort()
      // Who asks again does not want to wait.
      asked += 1
      if (asked > 2) process.exit(130)
    })
  }
  return controller
}

/** Whoever read the output is gone, as `head` when it has enough: that ends a command like a signal would. */
function endUnread(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EPIPE') throw error
  if (ending === undefined) process.exit(128 + constants.signals.SIGPIPE)
  ending.abort()
}

/** `code: message` and a remedy on stderr; 2 for wrong usage, 1 for everything else. */
function report(error: unknown, name: string, command: Command): number {
  // The person ended it; there is nothing to tell.
  if (error instanceof Error && error.name === 'AbortError') return 130
  if (error instanceof CliError && error.code === 'USAGE') {
    process.stderr.write(
      `USAGE: ${printableLines(error.message)}\nUsage: trustcast ${wordsOf(name, command.synopsis)}\n`,
    )
    return 2
  }
  const coded = ofSystem(error)
  if (isCoded(coded)) {
    warn(coded)
    return 1
  }
  const what = error instanceof Error ? (error.stack ?? error.message) : String(error)
  process.stderr.write(`BROKEN: ${printableLines(what)}\n`)
  return 1
}

/** What the operating system says of a port, a disk or a named file is for the person to mend; anything else is broken. */
function ofSystem(error: unknown): unknown {
  if (!(error instanceof Error && 'syscall' in error && 'code' in error)) return error
  const { syscall, code, message } = error
  if (syscall === 'listen') return new CliError('CLI_PORT_TAKEN', message, { cause: error })
  if (code === 'ENOSPC' || code === 'EDQUOT') return new CliError('CLI_DISK_FULL', message, { cause: error })
  // Reading a folder names no path.
  return 'path' in error || code === 'EISDIR'
    ? new CliError('CLI_FILE_UNUSABLE', message, { cause: error })
    : error
}

function wordsOf(name: string, synopsis: string): string {
  return `${name} ${synopsis}`.trimEnd()
}

function unknownCommand(name: string): number {
  process.stderr.write(`USAGE: there is no command ${JSON.stringify(name)}\nSee: trustcast help\n`)
  return 2
}

/** @param words a command, perhaps one of its subcommands, and whatever else stood there */
async function help(words: readonly string[]): Promise<number> {
  const [name, sub] = words.filter((word) => !word.startsWith('-'))
  if (name === undefined) {
    const list = await listOf(commands)
    process.stdout.write(
      `Trustcast delivers desktops and applications by trust.\n\nUsage: trustcast COMMAND … [--json]\n\n${list}\n`,
    )
    return 0
  }
  const load = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (load === undefined) return unknownCommand(name)
  const command = await load()
  const inner = await subcommandOf(command, [sub ?? ''])
  if (inner !== undefined) {
    process.stdout.write(`Usage: trustcast ${wordsOf(name, inner.synopsis)}\n\n${inner.summary}\n`)
    return 0
  }
  const { synopsis, summary, subcommands = {} } = command
  const list = Object.keys(subcommands).length === 0 ? '' : `\n${await listOf(subcommands)}\n`
  process.stdout.write(`Usage: trustcast ${wordsOf(name, synopsis)}\n\n${summary}\n${list}`)
  return 0
}

/** The subcommand that the words after a command's name begin with. */
async function subcommandOf(
  { subcommands = {} }: Command,
  [word = '']: readonly string[],
): Promise<Command | undefined> {
  return Object.hasOwn(subcommands, word) ? subcommands[word]?.() : undefined
}

/** A line or two each. Subcommands begin their synopsis with their name themselves. */
async function listOf(group: Readonly<Record<string, () => Promise<Command>>>): Promise<string> {
  const lines = await Promise.all(
    Object.entries(group).map(async ([word, load]) => {
      const { synopsis, summary } = await load()
      const usage = synopsis.split(' ')[0] === word ? synopsis : wordsOf(word, synopsis)
      return `  ${usage}\n      ${summary}`
    }),
  )
  return lines.join('\n')
}
