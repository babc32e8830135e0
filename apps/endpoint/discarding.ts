import { join } from 'node:path'
import { discardKept } from '#adapters/overlay-file/index.ts'
import type { AgentLog } from '#apps/agent-client/index.ts'
import type { EndpointToSite, WrittenHere } from '#core/agent/endpoint-messages.ts'

const retryMs = 30_000

/**
 * Discards what the site says is to go, and tells it what is gone. Nothing is remembered: until the site has heard it says the same again, and
 * whoever was killed in the middle goes on. What is still open here, or fails, is tried again.
 */
export class Discarding {
  readonly #dir: string
  readonly #tell: (message: EndpointToSite) => void
  readonly #log: AgentLog
  #wanted: readonly WrittenHere[] = []
  #running: Promise<void> | undefined
  #again: NodeJS.Timeout | undefined

  /** @param dir the endpoint's state */
  constructor(dir: string, tell: (message: EndpointToSite) => void, log: AgentLog) {
    this.#dir = dir
    this.#tell = tell
    this.#log = log
  }

  /** The site's whole word. */
  receive(wanted: readonly WrittenHere[] = []): void {
    this.#wanted = wanted
    clearTimeout(this.#again)
    if (wanted.length > 0) this.#running ??= this.#work()
  }

  async close(): Promise<void> {
    this.receive()
    await this.#running
    clearTimeout(this.#again)
  }

  async #work(): Promise<void> {
    const written: WrittenHere[] = []
    for (const one of this.#wanted) {
      try {
        for (const folder of foldersOf(this.#dir, one)) await discardKept(folder)
        written.push(one)
      } catch (error) {
        this.#log.warn({ err: error, ...one }, 'what is to be discarded is still here')
      }
    }
    if (written.length > 0) this.#tell({ kind: 'discarded', written })
    this.#running = undefined
    this.#again = setTimeout(() => this.receive(this.#wanted), retryMs).unref()
  }
}

function foldersOf(dir: string, { personId, workspaceId }: WrittenHere): readonly string[] {
  const vms = join(dir, 'vms', personId)
  return workspaceId === undefined ? [join(dir, 'overlays', personId), vms] : [join(vms, workspaceId)]
}
