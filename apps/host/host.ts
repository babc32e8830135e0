import type { Duplex } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { Discarding } from '#apps/agent-client/index.ts'
import type { HostToSite, SiteToHost } from '#core/agent/messages.ts'
import { versionInHello } from '#core/agent/understood.ts'
import type { DisplayServer } from '#core/broker/display.ts'
import { encodeBase64url } from '#core/bytes/index.ts'
import {
  type ChannelHost,
  type CryptoKeyPair,
  createChannelHost,
  exportPublic,
  type Transport,
} from '#core/channel/index.ts'
import { createLoadMeter, type Load } from './load.ts'
import { openPeopleDoor, type PeopleDoor } from './people-door.ts'
import { createRelay, type Gateway, type Relay } from './relay.ts'
import { Sessions } from './sessions.ts'
import { Tickets } from './tickets.ts'

const reportMs = 5_000
const tickMs = 1_000
/** Changes that come together are reported together: after the first so soon, and never more often. */
const changeMs = 50
const firstChangeMs = 5
/**
 * People before the end of their handshake. Far more than one gateway can bring in the time that a handshake may take (`relay.ts`),
 * so that a gateway which sends nobody's connections keeps nobody of another gateway out.
 */
const maximumWaiting = 1024
/** For last words to people on their way out. */
const farewellMs = 300

export interface HostOptions {
  /** As the site knows it. */
  readonly hostId: string
  readonly keyPair: CryptoKeyPair
  /** Most sessions at once. */
  readonly capacity: number
  readonly version: string
  /** The host closes it, too. */
  readonly displays: DisplayServer
  /** Opens a connection to a gateway on which it may put a person through. */
  readonly dial: (gateway: Gateway, signal: AbortSignal) => Promise<Duplex>
  /** Says it to the site; while that is away it is dropped, and `hello` says what matters again. */
  readonly tell: (message: HostToSite) => void
  readonly log: Logger
  /** Unix time, ms. */
  readonly now: () => number
}

/**
 * One host's agent, whatever way it talks to its site. While the site is away the last desired state stands.
 *
 * Concurrency: every method may be called at any time; `close` once, last.
 */
export interface Host {
  /** What each connection to the site begins with. */
  hello(): readonly HostToSite[]
  receive(message: SiteToHost): void
  /** A transport on which somebody unknown is going to speak. */
  accept(transport: Transport): void
  /** @param how whether sessions end, too, or go on for the next agent to adopt */
  close(how: 'end-sessions' | 'keep-sessions'): Promise<void>
}

/** Starts the agent. What runs on this machine already is adopted when this resolves. */
export async function createHost(options: HostOptions): Promise<Host> {
  const { displays, tell, log, now } = options
  const hostKey = encodeBase64url(await exportPublic(options.keyPair.publicKey))
  // Sessions that are adopted change before there is an agent; `hello` tells of them.
  let agent: Agent | undefined
  const changed = (): void => agent?.changed()
  const sessions = await Sessions.open({ displays, log, now, changed, tell }, options.capacity)
  const measure = createLoadMeter()
  agent = new Agent(options, hostKey, sessions, measure, await measure())
  return agent
}

class Agent implements Host {
  readonly #options: HostOptions
  readonly #hostKey: string
  readonly #sessions: Sessions
  readonly #tickets: Tickets
  readonly #channels: ChannelHost
  readonly #door: PeopleDoor
  readonly #relay: Relay
  readonly #discarding: Discarding<string>
  readonly #measure: () => Promise<Load>
  readonly #timers: readonly NodeJS.Timeout[]
  #load: Load
  #closing = false
  #soon: NodeJS.Timeout | undefined
  #changedAt = 0

  constructor(
    options: HostOptions,
    hostKey: string,
    sessions: Sessions,
    measure: () => Promise<Load>,
    load: Load,
  ) {
    const { hostId, keyPair, now, tell, log, dial } = options
    this.#options = options
    this.#measure = measure
    this.#load = load
    this.#hostKey = hostKey
    this.#sessions = sessions
    this.#tickets = new Tickets({
      keyPair,
      hostId,
      now,
      tell,
      isReady: (id) => sessions.isReady(id),
      accepted: (id, channel) => sessions.attach(id, channel),
      refused: (ticketId, error) => log.warn({ err: error, ticketId }, 'a ticket was refused'),
    })
    this.#channels = createChannelHost({
      keyPair,
      redeem: (id) => this.#tickets.redeem(id),
      maximumWaiting,
    })
    this.#door = openPeopleDoor((transport) => this.accept(transport))
    this.#relay = createRelay({ dial, door: this.#door, log })
    this.#discarding = new Discarding(
      (account) => options.displays.discard(account),
      (accounts) => tell({ kind: 'discarded', accounts }),
      log,
    )
    this.#timers = [
      setInterval(() => void this.#measureAndReport(), reportMs),
      setInterval(() => sessions.tick(), tickMs),
    ]
  }

  hello(): readonly HostToSite[] {
    const { capacity, version } = this.#options
    this.#tickets.reconnected()
    this.changed()
    const said = versionInHello(version)
    return [{ kind: 'hello', hostKey: this.#hostKey, capacity, version: said }, this.#report()]
  }

  receive({ draining, warm, sessions, gateways, tickets, discard }: SiteToHost): void {
    if (this.#closing) return
    this.#options.displays.prelaunch(draining ? 0 : warm)
    this.#sessions.desire(sessions)
    this.#relay.desire(gateways)
    this.#discarding.receive(discard)
    void this.#tickets.desire(tickets).then(() => this.changed())
  }

  accept(transport: Transport): void {
    this.#channels.accept(transport)
  }

  /** The site hears soon. Whoever hears that a ticket can be used has heard before that its session is ready. */
  changed(): void {
    this.#discarding.again()
    const wait = Math.max(firstChangeMs, this.#changedAt + changeMs - performance.now())
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined
      this.#changedAt = performance.now()
      this.#options.tell(this.#report())
      this.#tickets.arm()
    }, wait)
  }

  async close(how: 'end-sessions' | 'keep-sessions'): Promise<void> {
    this.#closing = true
    this.#relay.close()
    await this.#discarding.close()
    if (how === 'keep-sessions') this.#sessions.detachAll('HOST_RESTARTING')
    else await this.#sessions.endAll({ code: 'HOST_STOPPED', reason: 'The host was stopped' })
    this.#options.tell(this.#report())
    await delay(farewellMs)
    for (const timer of [...this.#timers, this.#soon]) clearTimeout(timer)
    this.#channels.close()
    this.#door.close()
    await this.#options.displays[Symbol.asyncDispose]()
  }

  async #measureAndReport(): Promise<void> {
    try {
      this.#load = await this.#measure()
    } catch (error) {
      this.#options.log.warn({ err: error }, 'the load could not be measured')
    }
    this.#options.tell(this.#report())
  }

  #report(): HostToSite {
    const { warm } = this.#options.displays
    return { kind: 'report', ...this.#load, warm, sessions: [...this.#sessions.report()] }
  }
}
