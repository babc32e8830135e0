import { spawn } from 'node:child_process'
import { Socket } from 'node:net'
import { join } from 'node:path'
import {
  type Filtered,
  hasGlobalIp6,
  isFilteredByIptables,
  judgeFirewall,
  parseNft,
  type WatchingCollector,
} from '#core/posture/index.ts'
import { readText } from './read-bounded.ts'
import { runCommand } from './run-command.ts'

export interface FirewallOptions {
  /** `/proc/self/net`: of the network namespace to look at. */
  readonly net: string
  /** Words that lead into that namespace; none for our own. */
  readonly enter: readonly string[]
}

/** A change of rules comes as many events. */
const settleMs = 200

/** Looks at both of the kernel's packet filters: nftables, which iptables-nft writes to as well, and the older tables. */
export function firewallCollector({ net, enter }: FirewallOptions): WatchingCollector {
  return {
    name: 'nft',
    claims: ['endpoint.firewall'],
    collect: async (signal) => {
      const run = async (program: string, ...words: string[]): Promise<string | undefined> => {
        const [first = program, ...rest] = [...enter, program, ...words]
        const { status, stdout } = await runCommand([first, ...rest], signal)
        return status === 0 ? stdout : undefined
      }
      const looks = [await lookAtNft(run), await lookAtTables(run, net)]
      const ip6 = await readText(join(net, 'if_inet6'))
      return [judgeFirewall(looks, hasGlobalIp6(ip6 ?? ''), 'nft')]
    },
    watch: (changed, signal) => watchRules(enter, changed, signal),
  }
}

type Run = (program: string, ...words: string[]) => Promise<string | undefined>

/**
 * Where there is no nft, iptables may know the same rules. Where there is one, it knows its own alone: that those refuse nothing says nothing.
 */
async function lookAtNft(run: Run): Promise<Filtered | undefined> {
  const rules =
    (await run('nft', '-j', 'list', 'ruleset')) ??
    // Without the elements of sets: lists of addresses may be too long.
    (await run('nft', '-j', '-t', 'list', 'ruleset'))
  if (rules !== undefined) return parseNft(rules)
  return (await run('nft', '--version')) === undefined
    ? lookBy(run, 'iptables-save', 'ip6tables-save')
    : undefined
}

/** The older filter has tables only once somebody used it; only root may read which. */
async function lookAtTables(run: Run, net: string): Promise<Filtered | undefined> {
  const tables = await Promise.all(
    ['ip_tables_names', 'ip6_tables_names'].map(async (name) => readText(join(net, name))),
  ).catch(() => undefined)
  if (tables === undefined) return undefined
  return tables.some((names = '') => names.trim() !== '')
    ? lookBy(run, 'iptables-legacy-save', 'ip6tables-legacy-save')
    : { ip4: false, ip6: false }
}

async function lookBy(run: Run, save4: string, save6: string): Promise<Filtered | undefined> {
  const ip4 = await run(save4)
  const ip6 = await run(save6)
  return ip4 === undefined || ip6 === undefined
    ? undefined
    : { ip4: isFilteredByIptables(ip4), ip6: isFilteredByIptables(ip6) }
}

/** `nft monitor` sleeps in the kernel until rules change. It ends with us, also when we are killed. */
function watchRules(enter: readonly string[], changed: () => void, signal: AbortSignal): void {
  const words = ['--pdeathsig', 'KILL', ...enter, 'nft', 'monitor']
  const monitor = spawn('setpriv', words, { stdio: ['ignore', 'pipe', 'ignore'], cwd: '/', signal })
  let settling: NodeJS.Timeout | undefined
  monitor.on('error', () => {
    // Not there, not allowed, or asked to end: each round looks anyway.
  })
  monitor.stdout.on('data', () => {
    settling ??= setTimeout(() => {
      settling = undefined
      if (!signal.aborted) changed()
    }, settleMs)
  })
  monitor.unref()
  if (monitor.stdout instanceof Socket) monitor.stdout.unref()
}
