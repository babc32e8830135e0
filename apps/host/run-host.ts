import { mkdir } from 'node:fs/promises'
import type { Logger } from 'pino'
import { createXvncDisplayServer } from '#adapters/display-xvnc/index.ts'
import { clientTls } from '#adapters/pki-x509/index.ts'
import { connectToSite, keepRenewed, readIdentity, type SiteConnection } from '#apps/agent-client/index.ts'
import { type HostToSite, siteToHost } from '#core/agent/messages.ts'
import { dialGateway } from './dial-gateway.ts'
import { createHost } from './host.ts'
import { loadHostKey } from './host-key.ts'

export interface HostConfig {
  /** Holds the identity that `enrolAgent` made, and the host's key. Only root gets in. */
  readonly stateDir: string
  /** Sockets and state of running displays; emptied by a restart of the machine at the latest. */
  readonly runDir: string
  /** Homes of people; every host agent of one site on this machine must name the same. */
  readonly homesDir: string
  /** Most sessions at once. */
  readonly capacity: number
  readonly version: string
  /** Otherwise sessions go on when the agent stops, and the next one adopts them: an update disturbs nobody for long. */
  readonly endSessionsOnStop: boolean
  readonly log: Logger
}

/**
 * Runs the agent of one host until the signal; resolves when everything is closed.
 *
 * @throws {AgentError} AGENT_NOT_ENROLLED, AGENT_KEY_DAMAGED
 * @throws {DisplayError} when this machine cannot run displays
 */
export async function runHost(config: HostConfig, signal: AbortSignal): Promise<void> {
  const { stateDir, runDir, homesDir, capacity, version, log } = config
  await mkdir(stateDir, { recursive: true, mode: 0o700 })
  const { id } = await readIdentity(stateDir, 'host')
  const keyPair = await loadHostKey(stateDir)
  // Several agents may share a machine; each finds its own displays again.
  const hostTag = id.replaceAll('-', '')
  const displays = await createXvncDisplayServer({ runDir, homesDir, hostTag, log })
  let site: SiteConnection<HostToSite> | undefined
  const host = await createHost({
    hostId: id,
    keyPair,
    capacity,
    version,
    displays,
    dial: async (gateway, signal) => {
      // Read again each time, since certificates are renewed.
      const { rootPem, siteId, ...identity } = await readIdentity(stateDir)
      const tls = clientTls(rootPem, { siteId, role: 'gateway', id: gateway.id }, identity)
      return dialGateway(gateway.agentUrl, tls, signal)
    },
    tell: (message) => void site?.send(message),
    log,
    now: Date.now,
  })
  // After the host, so that the last reports still go out.
  const leaving = new AbortController()
  site = connectToSite(
    {
      dir: stateDir,
      decode: siteToHost,
      onMessage: (message) => host.receive(message),
      hello: () => host.hello(),
      log,
    },
    leaving.signal,
  )
  const renewing = keepRenewed({ dir: stateDir, onRenewed: () => undefined, log }, signal)
  log.info({ host: id, capacity }, 'host agent runs')
  await untilAborted(signal)
  await host.close(config.endSessionsOnStop ? 'end-sessions' : 'keep-sessions')
  leaving.abort()
  await Promise.all([renewing, site.done])
  log.info({ host: id }, 'host agent stopped')
}

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
