import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'

/** What changed in the kernel's tables. */
export interface NetworkChange {
  /** `ALL`: from now on changes are told; what changed before was not. */
  readonly table: 'LINK' | 'ADDR' | 'ROUTE' | 'NEIGH' | 'ALL'
  /** As iproute2 prints it. */
  readonly line: string
}

const againMs = 5_000
/** `ip monitor` does not say from when on it listens. */
const deafMs = 10_000

/** Tells of changes until the signal. Never throws: where there is no iproute2 it tells of nothing. */
export type Monitor = (tell: (change: NetworkChange) => void, signal: AbortSignal) => void

/**
 * Tells any number of listeners of changes as the kernel does (netlink, through one `ip monitor`), as long as somebody listens. Costs nothing
 * while nothing changes.
 */
export function sharedMonitor(): Monitor {
  const listeners = new Set<(change: NetworkChange) => void>()
  let running: AbortController | undefined
  return (tell, signal) => {
    if (signal.aborted) return
    listeners.add(tell)
    signal.addEventListener('abort', () => {
      listeners.delete(tell)
      if (listeners.size > 0) return
      running?.abort()
      running = undefined
    })
    if (running !== undefined) return
    running = new AbortController()
    void keepMonitoring((change) => {
      for (const listener of listeners) listener(change)
    }, running.signal)
  }
}

async function keepMonitoring(tell: (change: NetworkChange) => void, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await monitorOnce(tell, signal)
    // What happened meanwhile is found by the next look of its own accord.
    await sleep(againMs, undefined, { signal, ref: false }).catch(() => undefined)
  }
}

async function monitorOnce(tell: (change: NetworkChange) => void, signal: AbortSignal): Promise<void> {
  const words = ['-o', '-4', 'monitor', 'label', 'link', 'address', 'route', 'neigh']
  const child = spawn('ip', words, {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
  })
  const { promise, resolve } = Promise.withResolvers<void>()
  const stop = (): void => void child.kill()
  signal.addEventListener('abort', stop)
  child.once('error', () => resolve()).once('close', () => resolve())
  child.unref()
  const listening = setTimeout(() => tell({ table: 'ALL', line: '' }), deafMs).unref()
  createInterface({ input: child.stdout }).on('line', (text) => {
    const [, table, line] = /^\[(LINK|ADDR|ROUTE|NEIGH)\](.{0,500})/.exec(text) ?? []
    if (table !== undefined && line !== undefined && !signal.aborted)
      tell({ table: table as NetworkChange['table'], line })
  })
  await promise
  clearTimeout(listening)
  signal.removeEventListener('abort', stop)
}
