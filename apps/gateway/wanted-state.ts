import { createPublicKey, type KeyObject } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type SiteToGateway, siteToGateway } from '#core/agent/messages.ts'
import { type AgentLog, replaceFile } from '../agent-client/index.ts'

/** What the site wants of this gateway, as last heard; on disk too, so that a restart while the site is away forgets nothing. */
export class WantedState {
  readonly #path: string
  readonly #log: AgentLog
  #routeKeys: readonly KeyObject[] = []
  #revokedHosts: ReadonlySet<string> = new Set()
  #saved: Promise<void> = Promise.resolve()

  constructor(dir: string, log: AgentLog) {
    this.#path = join(dir, 'desired.json')
    this.#log = log
  }

  /** Starts from what is on disk, if anything is. */
  async load(): Promise<void> {
    const text = await readFile(this.#path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined
      throw error
    })
    if (text !== undefined) this.#take(siteToGateway.parse(JSON.parse(text)))
  }

  get routeKeys(): readonly KeyObject[] {
    return this.#routeKeys
  }

  isRevoked(host: string): boolean {
    return this.#revokedHosts.has(host)
  }

  /** @returns the hosts that were not revoked before */
  set(desired: SiteToGateway): readonly string[] {
    const before = this.#revokedHosts
    this.#take(desired)
    this.#saved = this.#saved
      .then(() => replaceFile(this.#path, JSON.stringify(desired)))
      .catch((error: unknown) => this.#log.warn({ err: error }, 'the desired state was not saved'))
    return desired.revokedHosts.filter((host) => !before.has(host))
  }

  /** Resolves when all that was set is on disk. */
  async saved(): Promise<void> {
    await this.#saved
  }

  #take(desired: SiteToGateway): void {
    this.#routeKeys = desired.routeKeys.map((x) =>
      createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' }),
    )
    this.#revokedHosts = new Set(desired.revokedHosts)
  }
}
