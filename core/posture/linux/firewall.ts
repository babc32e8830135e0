import { z } from 'zod'
import type { Observation } from '#core/evidence/observation.ts'
import { observe, unknown } from '../observe.ts'
import { linesOf, parseJson } from '../read-text.ts'

/** Whether anything that comes in is refused. */
export interface Filtered {
  readonly ip4: boolean
  readonly ip6: boolean
}

const claim = 'endpoint.firewall'
const maxNodes = 200_000

/**
 * @param looks what each of the kernel's two packet filters does; undefined: it could not be read
 * @param hasIp6 the machine has an IPv6 address that others reach
 */
export function judgeFirewall(
  looks: readonly (Filtered | undefined)[],
  hasIp6: boolean,
  collector: string,
): Observation {
  const seen = looks.filter((look) => look !== undefined)
  const ip4 = seen.some((look) => look.ip4)
  const ip6 = seen.some((look) => look.ip6)
  if (ip4 && (ip6 || !hasIp6))
    return observe(claim, 'on', collector, `incoming connections are filtered${ip6 ? '' : ' (IPv4 only)'}`)
  if (seen.length < looks.length) return unknown(claim, collector, 'the packet filter cannot be read')
  return observe(
    claim,
    'off',
    collector,
    ip4 ? 'incoming IPv6 connections are not filtered' : 'nothing that comes in is refused',
  )
}

const named = { family: z.string(), table: z.string() }
const ruleset = z.object({
  nftables: z
    .array(
      z.looseObject({
        chain: z
          .object({
            ...named,
            name: z.string(),
            type: z.string().optional(),
            hook: z.string().optional(),
            policy: z.string().optional(),
          })
          .optional(),
        rule: z.object({ ...named, chain: z.string(), expr: z.array(z.unknown()) }).optional(),
        map: z.looseObject({ ...named, name: z.string() }).optional(),
      }),
    )
    .max(100_000),
})

/**
 * `nft -j list ruleset`, libnftables-json(5).
 *
 * A family is filtered when a base chain at its input hook has the policy drop, or leads to a rule that drops or rejects, by jumps,
 * gotos and verdict maps.
 */
export function parseNft(text: string): Filtered | undefined {
  const objects = parseJson(text, ruleset)?.nftables
  if (objects === undefined) return undefined
  const chains = objects.flatMap(({ chain }) => (chain === undefined ? [] : [chain]))
  const verdicts = verdictsByChain(objects)
  const filtering = chains
    .filter(({ type, hook }) => type === 'filter' && hook === 'input')
    .filter((chain) => chain.policy === 'drop' || refuses(keyOf(chain, chain.name), verdicts))
  const covers = (family: string): boolean =>
    filtering.some((chain) => chain.family === family || chain.family === 'inet')
  return { ip4: covers('ip'), ip6: covers('ip6') }
}

/** What a chain's rules may come to. */
interface Verdicts {
  readonly refuses: boolean
  /** Keys of chains. */
  readonly leadsTo: ReadonlySet<string>
}

function verdictsByChain(
  objects: z.infer<typeof ruleset>['nftables'],
): ReadonlyMap<string, readonly Verdicts[]> {
  const budget = { left: maxNodes }
  const maps = new Map(
    objects.flatMap(({ map }) => (map === undefined ? [] : [[keyOf(map, `@${map.name}`), map] as const])),
  )
  const rules = objects.flatMap(({ rule }) => (rule === undefined ? [] : [rule]))
  const entries = rules.map((rule) => {
    const mapped = namesOfMaps(rule.expr, budget).flatMap((name) => maps.get(keyOf(rule, name)) ?? [])
    return { key: keyOf(rule, rule.chain), verdicts: verdictsIn([rule.expr, mapped], rule, budget) }
  })
  return new Map(
    [...Map.groupBy(entries, ({ key }) => key)].map(([key, some]) => [
      key,
      some.map(({ verdicts }) => verdicts),
    ]),
  )
}

function keyOf({ family, table }: { family: string; table: string }, name: string): string {
  return JSON.stringify([family, table, name])
}

/** From chain to chain, each once: rulesets may not have loops, and what prints them may lie. */
function refuses(start: string, verdicts: ReadonlyMap<string, readonly Verdicts[]>): boolean {
  const seen = new Set([start])
  for (const key of seen) {
    for (const one of verdicts.get(key) ?? []) {
      if (one.refuses) return true
      for (const next of one.leadsTo) seen.add(next)
    }
  }
  return false
}

function verdictsIn(
  expr: unknown,
  place: { family: string; table: string },
  budget: { left: number },
): Verdicts {
  const leadsTo = new Set<string>()
  let isRefusing = false
  visit(expr, budget, (name, value) => {
    if (name === 'drop' || name === 'reject') isRefusing = true
    // Rules of iptables-nft hold targets that nft has no words for.
    if (name === 'xt' && /"name": ?"(?:REJECT|DROP)"/.test(JSON.stringify(value) ?? '')) isRefusing = true
    if (name !== 'jump' && name !== 'goto') return
    const target = (value as { target?: unknown } | null)?.target
    if (typeof target === 'string') leadsTo.add(keyOf(place, target))
  })
  return { refuses: isRefusing, leadsTo }
}

function namesOfMaps(expr: unknown, budget: { left: number }): readonly string[] {
  const names: string[] = []
  visit(expr, budget, (name, value) => {
    const data = name === 'vmap' ? (value as { data?: unknown } | null)?.data : undefined
    if (typeof data === 'string') names.push(data)
  })
  return names
}

/** Every named value inside, without recursion: the depth is whoever printed it's. */
function visit(root: unknown, budget: { left: number }, see: (name: string, value: unknown) => void): void {
  const pending: unknown[] = [root]
  while (pending.length > 0) {
    const value = pending.pop()
    if (typeof value !== 'object' || value === null) continue
    for (const [name, inner] of Object.entries(value)) {
      budget.left -= 1
      if (budget.left < 0) return
      see(name, inner)
      pending.push(inner)
    }
  }
}

/**
 * `iptables-save` or `ip6tables-save` of the older packet filter: `:INPUT DROP [0:0]`, `-A INPUT -j REJECT`.
 *
 * @returns whether the filter table's input chain drops by policy, or leads to a rule that drops or rejects
 */
export function isFilteredByIptables(text: string): boolean {
  const filter = tableNamed(text, 'filter')
  if (filter.some((line) => line.startsWith(':INPUT DROP'))) return true
  const targets = Map.groupBy(
    filter.flatMap((line) => {
      const [, chain = '', target = ''] = /^-A (\S+) .*?(?:-j|-g) (\S+)/.exec(line) ?? []
      return chain === '' ? [] : [{ chain, target }]
    }),
    ({ chain }) => chain,
  )
  const seen = new Set(['INPUT'])
  for (const chain of seen) {
    for (const { target } of targets.get(chain) ?? []) {
      if (target === 'DROP' || target === 'REJECT') return true
      seen.add(target)
    }
  }
  return false
}

function tableNamed(text: string, name: string): readonly string[] {
  const lines = linesOf(text)
  const start = lines.indexOf(`*${name}`)
  const end = lines.indexOf('COMMIT', start)
  return start === -1 ? [] : lines.slice(start + 1, end === -1 ? undefined : end)
}

/** `/proc/net/if_inet6`: address, index, prefix length, scope, flags, interface. Scope 0 is global. */
export function hasGlobalIp6(text: string): boolean {
  return linesOf(text).some((line) => {
    const [address = '', , , scope, , name] = line.trim().split(/\s+/)
    return address.length === 32 && scope === '00' && name !== 'lo'
  })
}
