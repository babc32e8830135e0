import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { clientTls } from '#adapters/pki-x509/index.ts'
import {
  AgentError,
  type AgentIdentity,
  type AgentLog,
  connectToSite,
  Discarding,
  isRefusal,
  keepRenewed,
  loadX25519Key,
  postJson,
  readIdentity,
  type SiteConnection,
  steadyMs,
} from '#apps/agent-client/index.ts'
import type { EndpointCredentials } from '#apps/site-client/call.ts'
import {
  type EndpointToSite,
  type SiteToEndpoint,
  siteToEndpoint,
  type Verdict,
  type WrittenHere,
} from '#core/agent/endpoint-messages.ts'
import { versionInHello } from '#core/agent/understood.ts'
import { leaseKeyAnswer } from '#core/api/lease.ts'
import type { LeasedDelivery } from '#core/api/person.ts'
import { encodeBase64url } from '#core/bytes/index.ts'
import { type CryptoKeyPair, exportPublic } from '#core/channel/index.ts'
import type { Attestation } from '#core/tpm/index.ts'
import { discardWritten } from './discard-written.ts'
import { LeaseKeeper } from './lease-keeper.ts'
import { faultOfPeer, reportPath } from './report-path.ts'
import { Reporter, type ReportSources } from './reporting.ts'
import type { Trouble } from './trouble.ts'

/** The site says something, or pings, within 65 s. */
const silenceMs = 90_000
/** While somebody else answers in the site's place, each attempt finds it anew. */
const pathEveryMs = 30_000

export interface EndpointAgentOptions {
  /** Holds the identity that `enrolAgent` made, and the key that image keys are sealed to. */
  readonly dir: string
  readonly version: string
  readonly log: AgentLog
  /** What this process tells the site of its machine; absent where another process does, as beside a launch. */
  readonly report?: ReportSources | undefined
  /** Another clock, for tests. */
  readonly steadyMs?: () => number
  /** Told what the site makes of each report that changed something. */
  readonly onVerdict?: ((verdict: Verdict) => void) | undefined
  /** Another wall clock, for tests. */
  readonly now?: () => number
}

/** Of the lease in a delivery: what its key is asked for with. */
export type OfferedKey = Pick<LeasedDelivery['lease'], 'id' | 'keyTicket'>

/** A machine's own agent: connected to its site, its certificate renewed, its leases kept. */
export interface EndpointAgent extends AsyncDisposable {
  readonly id: string
  readonly siteId: string
  /** The site's director, Ed25519. */
  readonly directorKey: KeyObject
  /** Image keys are sealed to it. */
  readonly sealKeys: CryptoKeyPair
  readonly leases: LeaseKeeper
  /** Of a process that reports. */
  readonly reporter: Reporter | undefined
  steadyMs(): number
  /**
   * Asks the site, over mutual TLS, for the key of the image that a lease is about, once the lease was given and before it is held.
   *
   * @param lease as the answer to the launch has it
   * @returns sealed to `sealKeys`
   * @throws {AgentError} AGENT_SITE_AWAY, AGENT_SITE_REFUSED, AGENT_SITE_MALFORMED
   */
  askForKey(lease: OfferedKey): Promise<Uint8Array>
  /** Whether the connection to the site stands now. */
  readonly isConnected: boolean
  /** Whether somebody else than the site answered the last time that it was dialled. */
  readonly isIntercepted: boolean
  /** What else keeps it from the site and does not pass by itself, since the site was heard of last; or from stating its evidence. */
  readonly trouble: Trouble | undefined
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
  const { dir, log } = options
  const identity = await readIdentity(dir, 'endpoint')
  const directorKey = directorOf(identity)
  const sealKeys = await loadX25519Key(join(dir, 'seal-key'), 'seal-key')
  const sealKey = encodeBase64url(await exportPublic(sealKeys.publicKey))
  const clock = options.steadyMs ?? steadyMs
  const stop = new AbortController()
  const noted = Promise.withResolvers<true>()
  const leases = new LeaseKeeper({ tell: (message) => void site.send(message), steadyMs: clock })
  const discarding = new Discarding<WrittenHere>(
    (one) => discardWritten(dir, one),
    (written) => void site.send({ kind: 'discarded', written }),
    log,
  )
  const reporter = reporterOf(options, (message) => void site.send(message))
  const path = pathWatch(options)
  const parts = { sealKey, leases, discarding, reporter, path, noted: noted.resolve }
  const site = connectAgent(options, parts, stop.signal)
  const onFailed = (error: unknown): void => {
    if (isRefusal(error)) path.refused(error)
  }
  const renewing = keepRenewed({ dir, onRenewed: () => undefined, onFailed, log }, stop.signal)
  return {
    id: identity.id,
    siteId: identity.siteId,
    directorKey,
    sealKeys,
    leases,
    reporter,
    steadyMs: clock,
    askForKey: (lease) => askForKey(dir, lease, stop.signal),
    get isConnected() {
      return site.isConnected
    },
    get isIntercepted() {
      return path.isIntercepted
    },
    get trouble() {
      return path.trouble ?? reporter?.trouble
    },
    untilConnected: (timeoutMs) => Promise.race([noted.promise, sleep(timeoutMs, false, { ref: false })]),
    [Symbol.asyncDispose]: async () => {
      await leases.close()
      await discarding.close()
      stop.abort()
      await Promise.all([site.done, renewing, reporter?.[Symbol.asyncDispose]()])
    },
  }
}

/** What hears the site, and speaks to it. */
interface AgentParts {
  readonly sealKey: string
  readonly leases: LeaseKeeper
  readonly discarding: Discarding<WrittenHere>
  readonly reporter: Reporter | undefined
  readonly path: PathWatch
  readonly noted: (isNoted: true) => void
}

function connectAgent(
  { dir, version, log }: EndpointAgentOptions,
  { sealKey, leases, discarding, reporter, path, noted }: AgentParts,
  signal: AbortSignal,
): SiteConnection<EndpointToSite> {
  return connectToSite<SiteToEndpoint, EndpointToSite>(
    {
      dir,
      decode: siteToEndpoint,
      onMessage: (message) => {
        noted(true)
        path.heard()
        if (message.kind !== 'desired') return reporter?.receive(message)
        leases.receive(message)
        discarding.receive(message.discard)
      },
      hello: (terms) => {
        reporter?.connected(terms)
        const reports = reporter !== undefined
        return [{ kind: 'hello', sealKey, version: versionInHello(version), reports }, leases.reportNow()]
      },
      onLost: (error) => {
        reporter?.lost()
        path.lost(error)
      },
      onRefused: () => {
        path.refused(revoked)
        leases.refused()
      },
      silenceMs,
      log,
    },
    signal,
  )
}

async function askForKey(
  dir: string,
  { id, keyTicket }: OfferedKey,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const identity = await readIdentity(dir, 'endpoint')
  const { rootPem, siteId, agentUrl } = identity
  const url = new URL(`/leases/${id}/key`, agentUrl)
  const tls = clientTls(rootPem, { siteId, role: 'site' }, identity)
  const { sealedKey } = await postJson(url, { keyTicket }, leaseKeyAnswer, tls, signal)
  return Buffer.from(sealedKey, 'base64url')
}

interface PathWatch extends Pick<EndpointAgent, 'isIntercepted' | 'trouble'> {
  heard(): void
  lost(why: Error | undefined): void
  /** The site itself has said that it does not take this endpoint. */
  refused(why: Pick<AgentError, 'message' | 'remedy'>): void
}

const revoked = {
  message: 'the site has revoked this endpoint, or knows it no more',
  remedy: 'Ask an admin. With a new token this machine is enrolled again: what it keeps stays.',
}
const untimely: Trouble = {
  message: 'the certificate of the site is not good at the time that this device has',
  remedy:
    'Set the clock of this device. If it is right, somebody in between answers in the place of the site: use another network.',
}

/** Remembers whether somebody else answers in the site's place; who reports asks the site then what it sees of the way to it. */
function pathWatch({ dir, log, report }: EndpointAgentOptions): PathWatch {
  let isIntercepted = false
  let trouble: Trouble | undefined
  let askedAt = Number.NEGATIVE_INFINITY
  const ask = async (): Promise<void> => {
    const found = await reportPath(await readIdentity(dir, 'endpoint'))
    log.warn({ interception: found }, 'somebody else answers where the site should')
  }
  return {
    get isIntercepted() {
      return isIntercepted
    },
    get trouble() {
      return trouble
    },
    heard: () => {
      isIntercepted = false
      trouble = undefined
    },
    refused: ({ message, remedy }) => {
      trouble = { message, ...(remedy !== undefined && { remedy }) }
    },
    lost: (why) => {
      const fault = faultOfPeer(why)
      isIntercepted = fault === 'foreign'
      if (fault === 'untimely') trouble = untimely
      else if (trouble === untimely) trouble = undefined
      if (!isIntercepted || report === undefined || performance.now() - askedAt < pathEveryMs) return
      askedAt = performance.now()
      ask().catch((error: unknown) => log.warn({ err: error }, 'somebody else answers where the site should'))
    },
  }
}

function reporterOf(
  { dir, report, log, now, onVerdict }: EndpointAgentOptions,
  send: (message: EndpointToSite) => void,
): Reporter | undefined {
  if (report === undefined) return undefined
  return new Reporter({
    dir,
    sources: report,
    send,
    log,
    ...(onVerdict === undefined ? {} : { onVerdict }),
    ...(now === undefined ? {} : { now }),
  })
}

/** Enrolment gave it over a connection that the token's pin had proven. */
function directorOf({ directorKey }: AgentIdentity): KeyObject {
  if (directorKey !== undefined)
    return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: directorKey }, format: 'jwk' })
  throw new AgentError('AGENT_NOT_ENROLLED', 'this identity does not know the director of its site', {
    remedy: 'Enrol this machine again.',
  })
}

/**
 * Read anew for each request: the key changes when the certificate is renewed.
 *
 * @throws {AgentError} AGENT_NOT_ENROLLED, AGENT_WRONG_KIND
 */
export async function readEndpointCredentials(dir: string): Promise<EndpointCredentials> {
  const identity = await readIdentity(dir, 'endpoint')
  const { id, siteId, privateKeyPem, tpm } = identity
  const credentials = { id, siteId, key: createPrivateKey(privateKeyPem) }
  if (tpm === undefined) return credentials
  const quote = async (extraData: Uint8Array): Promise<Attestation | undefined> => {
    const { quoteOver } = await import('#apps/agent-client/quote-over.ts')
    // Whoever may read the key file need not be one who may use the TPM: then the file is all that is proven.
    return quoteOver(identity, extraData, { withLog: false }).catch(() => undefined)
  }
  return { ...credentials, quoteOver: quote }
}
