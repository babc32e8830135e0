/** What placement knows of a host. */
export interface HostLoad {
  readonly id: string
  readonly placed: number
  readonly capacity: number
  readonly cpuPercent: number
  readonly memoryFreeMiB: number
  readonly draining: boolean
}

/** A new session wants at least this much memory free on its host. */
const minimumMemoryMiB = 256

/**
 * Hosts that can take one more session, least loaded first. The caller claims a place on the first,
 * and on the next when somebody else was quicker: nothing is locked over the pool.
 *
 * @param random 0 ≤ r < 1, breaks ties so that launches at the same instant spread
 */
export function rankHosts(hosts: readonly HostLoad[], random: () => number): readonly string[] {
  return hosts
    .filter((host) => !host.draining && host.placed < host.capacity && host.memoryFreeMiB >= minimumMemoryMiB)
    .map((host) => ({ id: host.id, load: loadOf(host), tie: random() }))
    .toSorted((a, b) => a.load - b.load || a.tie - b.tie)
    .map((host) => host.id)
}

/** The scarcer of places and processor; in steps, so that noise does not decide. */
function loadOf(host: HostLoad): number {
  const places = host.placed / host.capacity
  const processor = Math.min(host.cpuPercent, 100) / 100
  return Math.round(Math.max(places, processor * 0.8) * 50) / 50
}
