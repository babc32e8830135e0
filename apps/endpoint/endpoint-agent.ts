import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  AgentError,
  type AgentIdentity,
  type AgentLog,
  connectToSite,
  keepRenewed,
  loadX25519Key,
  readIdentity,
} from '#apps/agent-client/index.ts'
import { type EndpointToSite, type SiteToEndpoint, siteToEndpoint } from '#core/agent/endpoint-messages.ts'
import { encodeBase64url } from '#core/bytes/index.ts'
import { type CryptoKeyPair, exportPublic } from '#core/channel/index.ts'
import { LeaseKeeper } from './lease-keeper.ts'
import { steadyMs } from './steady-clock.ts'

export interface EndpointAgentOptions {
  /** Holds the identity that `enrolAgent` made, and the key that image keys are sealed to. */
  readonly dir: string
  readonly version: string
  readonly log: AgentLog
  /** Another clock, for tests. */
  readonly steadyMs?: () => number
}

/** A machine's own agent: connected to its site, its certificate renewed, its leases kept. */
export interface EndpointAgent extends AsyncDisposable {
  readonly id: string
  readonly siteId: string
  /** The site's director, Ed25519. */
  readonly directorKey: KeyObject
  /** Image keys are sealed to it. */
  readonly sealKeys: CryptoKeyPair
  readonly leases: LeaseKeeper
  steadyMs(): number
  /** @returns whether the site has taken note of this agent within the time */
  untilConnected(timeoutMs: number): Promise<boolean>
}

/**
 * Starts the agent; it stops when it is disposed of. Several processes of one machine may each run one: every one reports the leases
 * that it holds itself.
 *
 * @throws {AgentError} AGENT_NOT_ENROLLED, AGENT_WRONG_KIND, AGENT_KEY_DAMAGED
 */
export async function startEndpointAgent(options: EndpointAgentOptions): Promise<EndpointAgent> {
  const { dir, version, log } = options
  const identity = await readIdentity(dir, 'endpoint')
  const directorKey = directorOf(identity)
  const sealKeys = await loadX25519Key(join(dir, 'seal-key'))
  const sealKey = encodeBase64url(await exportPublic(sealKeys.publicKey))
  const clock = options.steadyMs ?? steadyMs
  const stop = new AbortController()
  const noted = Promise.withResolvers<true>()
  const leases = new LeaseKeeper({ tell: (message) => void site.send(message), steadyMs: clock })
  const site = connectToSite<SiteToEndpoint, EndpointToSite>(
    {
      dir,
      decode: siteToEndpoint,
      onMessage: (message) => {
        noted.resolve(true)
        leases.receive(message)
      },
      hello: () => [{ kind: 'hello', sealKey, version }, leases.reportNow()],
      onRefused: () => leases.refused(),
      log,
    },
    stop.signal,
  )
  const renewing = keepRenewed({ dir, onRenewed: () => undefined, log }, stop.signal)
  return {
    id: identity.id,
    siteId: identity.siteId,
    directorKey,
    sealKeys,
    leases,
    steadyMs: clock,
    untilConnected: (timeoutMs) => Promise.race([noted.promise, sleep(timeoutMs, false, { ref: false })]),
    [Symbol.asyncDispose]: async () => {
      leases.close()
      stop.abort()
      await Promise.all([site.done, renewing])
    },
  }
}

/** Enrolment gave it over a connection that the token's pin had proven. */
function directorOf({ directorKey }: AgentIdentity): KeyObject {
  if (directorKey !== undefined)
    return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: directorKey }, format: 'jwk' })
  throw new AgentError('AGENT_NOT_ENROLLED', 'this identity does not know the director of its site', {
    remedy: 'Enrol this machine again.',
  })
}

/** What a command line on an endpoint co-signs its person's requests with. */
export interface EndpointCredentials {
  readonly id: string
  readonly siteId: string
  readonly key: KeyObject
}

/**
 * Read anew for each request: the key changes when the certificate is renewed.
 *
 * @throws {AgentError} AGENT_NOT_ENROLLED, AGENT_WRONG_KIND
 */
export async function readEndpointCredentials(dir: string): Promise<EndpointCredentials> {
  const { id, siteId, privateKeyPem } = await readIdentity(dir, 'endpoint')
  return { id, siteId, key: createPrivateKey(privateKeyPem) }
}
