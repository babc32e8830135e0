import { isCoded } from '#core/errors/coded-error.ts'
import { CliError } from './cli-error.ts'
import type { Command, Output } from './command.ts'

/** Commands are loaded when they are asked for: `list` need not wait for what `up` needs. */
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  up: async () => (await import('./commands/up.ts')).up,
  site: async () => (await import('./commands/roles.ts')).siteRole,
  gateway: async () => (await import('./commands/roles.ts')).gatewayRole,
  host: async () => (await import('./commands/roles.ts')).hostRole,
  enroll: async () => (await import('./commands/enroll.ts')).enroll,
  login: async () => (await import('./commands/login.ts')).login,
  logout: async () => (await import('./commands/login.ts')).logout,
  list: async () => (await import('./commands/person.ts')).list,
  launch: async () => (await import('./commands/launch.ts')).launch,
  sessions: async () => (await import('./commands/person.ts')).sessions,
  end: async () => (await import('./commands/person.ts')).end,
  explain: async () => (await import('./commands/person.ts')).explain,
  policy: async () => (await import('./commands/policy.ts')).policy,
  audit: async () => (await import('./commands/audit.ts')).audit,
}

process.exitCode = await main(process.argv.slice(2))

async function main(argv: readonly string[]): Promise<number> {
  const [name, ...rest] = argv
  if (name === undefined || name === 'help' || name === '--help') return help(rest[0])
  const load = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (load === undefined) {
    process.stderr.write(`USAGE: there is no command ${JSON.stringify(name)}\nSee: trustcast help\n`)
    return 2
  }
  const command = await load()
  if (rest.includes('--help')) return help(name)
  try {
    await command.run(
      rest.filter((word) => word !== '--json'),
      output(rest.includes('--json')),
    )
    return Number(process.exitCode ?? 0)
  } catch (error) {
    return report(error, name, command)
  }
}

function output(json: boolean): Output {
  const ending = new AbortController()
  let asked = 0
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      ending.abort()
      // Who asks again does not want to wait.
      asked += 1
      if (asked > 2) process.exit(130)
    })
  }
  return {
    json,
    signal: ending.signal,
    result: (value, asText) => process.stdout.write(`${json ? JSON.stringify(value) : asText()}\n`),
    say: (line) => {
      if (!json) process.stdout.write(`${line}\n`)
    },
  }
}

/** `code: message` and a remedy on stderr; 2 for wrong usage, 1 for everything else. */
function report(error: unknown, name: string, command: Command): number {
  // The person ended it; there is nothing to tell.
  if (error instanceof Error && error.name === 'AbortError') return 130
  if (error instanceof CliError && error.code === 'USAGE') {
    process.stderr.write(`USAGE: ${error.message}\nUsage: trustcast ${name} ${command.synopsis}\n`)
    return 2
  }
  if (isCoded(error)) {
    process.stderr.write(
      `${error.code}: ${error.message}\n${error.remedy === undefined ? '' : `${error.remedy}\n`}`,
    )
    return 1
  }
  process.stderr.write(`BROKEN: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  return 1
}

async function help(name: string | undefined): Promise<number> {
  const load = name !== undefined && Object.hasOwn(commands, name) ? commands[name] : undefined
  if (load !== undefined) {
    const command = await load()
    process.stdout.write(`Usage: trustcast ${name} ${command.synopsis}\n\n${command.summary}\n`)
    return 0
  }
  const lines = await Promise.all(
    Object.entries(commands).map(async ([word, loadOne]) => {
      const { synopsis, summary } = await loadOne()
      return `  ${word} ${synopsis}\n      ${summary}`
    }),
  )
  process.stdout.write(
    `Trustcast delivers desktops and applications by trust.\n\nUsage: trustcast COMMAND … [--json]\n\n${lines.join('\n')}\n`,
  )
  return 0
}
