import { readFile, rename, writeFile } from 'node:fs/promises'
import { z } from 'zod'
import {
  type GatewayMemory,
  gatewaysIn,
  judgeGateway,
  type Link,
  parseArping,
  rememberGateway,
} from '#core/network/index.ts'
import type { WatchingCollector } from '#core/posture/index.ts'
import type { Monitor } from './monitor.ts'
import { readNeighbours } from './read-tables.ts'
import { run } from './run.ts'
import { integrity, said } from './said.ts'
import type { SharedTables } from './shared-tables.ts'

const maxEntries = 10_000

/**
 * Whether the gateway is the machine that it was, and one only: by the kernel's ARP table, and by who answers when asked (`arping`, where it
 * is installed).
 *
 * @param file.path where it is remembered
 * @param file.isLookOnly reads it and leaves it as it is
 */
export function gatewayCollector(
  { path, isLookOnly }: { readonly path: string; readonly isLookOnly: boolean },
  { monitor, tables }: { readonly monitor: Monitor; readonly tables: SharedTables },
  now: () => number,
): WatchingCollector {
  const memory = openMemory(path)
  const entries = new Map<string, string>()
  return {
    name: 'gateway',
    claims: [integrity],
    collect: async (signal) => {
      const { links, routes } = await tables.read(signal)
      const { boot, known } = await memory
      const kept = new Map<string, GatewayMemory>()
      const suspicions: string[] = []
      for (const { address, dev } of gatewaysIn(routes, links)) {
        const link = links.find(({ name }) => name === dev)
        if (link?.address === undefined) continue
        const answers = await whoAnswers(dev, address, signal)
        // After asking, so that who answered late is in it.
        const entry = (await readNeighbours(signal)).find((one) => one.dev === dev && one.address === address)
        // What was there before the kernel was listened to is no news; that it becomes another machine is.
        if (entry?.mac !== undefined) entries.set(`${dev} ${address}`, entry.mac)
        const key = `${boot} ${linkKey(link)} ${address}`
        const seen = rememberGateway(known.get(key), entry?.mac, answers, now())
        if (seen !== undefined) kept.set(key, seen)
        suspicions.push(...judgeGateway(seen, answers, now()))
      }
      const isNews = JSON.stringify([...kept]) !== JSON.stringify([...known])
      if (isNews && !isLookOnly) await saveMemory(path, kept)
      known.clear()
      for (const [key, seen] of kept) known.set(key, seen)
      return said('gateway', suspicions)
    },
    watch: (changed, signal) => {
      tables.keep(signal)
      monitor(({ table, line }) => {
        if (table === 'ROUTE' || table === 'ALL') changed()
        if (table !== 'NEIGH') return
        const [, address, dev, mac] = /^(\S+) dev (\S+) lladdr (\S+)/.exec(line) ?? []
        if (address === undefined || dev === undefined || mac === undefined) return
        const key = `${dev} ${address}`
        const before = entries.get(key)
        if (entries.size > maxEntries) entries.clear()
        entries.set(key, mac)
        // Entries come and go by themselves; that one becomes another machine is news.
        if (before !== undefined && before !== mac) changed()
      }, signal)
    },
  }
}

async function whoAnswers(dev: string, address: string, signal: AbortSignal): Promise<readonly string[]> {
  const { stdout } = await run('arping', ['-c', '2', '-w', '2', '-I', dev, address], signal)
  return parseArping(stdout)
}

/** One standing of one link, as long as its wire stays in: what is behind it is another network after that, as far as anybody knows. */
function linkKey({ name, index, carrierChanges, address, prefix }: Link): string {
  return `${name} ${index} ${carrierChanges} ${address}/${prefix}`
}

const memoryFile = z.record(
  z.string().max(300),
  z.strictObject({
    first: z.string().max(32),
    other: z.string().max(32).exactOptional(),
    otherAt: z.number().exactOptional(),
  }),
)

async function openMemory(
  path: string,
): Promise<{ readonly boot: string; readonly known: Map<string, GatewayMemory> }> {
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')).trim()
  try {
    return {
      boot,
      known: new Map(Object.entries(memoryFile.parse(JSON.parse(await readFile(path, 'utf8'))))),
    }
  } catch {
    // Not there, or not ours: what is remembered begins anew.
    return { boot, known: new Map() }
  }
}

async function saveMemory(path: string, memories: ReadonlyMap<string, GatewayMemory>): Promise<void> {
  await writeFile(`${path}.partial`, JSON.stringify(Object.fromEntries(memories)), { mode: 0o600 })
  await rename(`${path}.partial`, path)
}
