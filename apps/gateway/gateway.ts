import type { KeyObject } from 'node:crypto'
import type { TlsOptions } from 'node:tls'
import { createAgentsPort } from './agents-port.ts'
import type { GatewayLimits } from './limits.ts'
import type { Listen } from './listener.ts'
import { Pairs } from './pairs.ts'
import { createPeoplePort } from './people-port.ts'
import { Spares } from './spares.ts'

/** Both from `serverTls`. */
export interface GatewayTls {
  /** No client certificates. */
  readonly peopleTls: TlsOptions
  /** Client certificates of the site. */
  readonly agentTls: TlsOptions
}

export interface GatewayOptions extends GatewayTls {
  readonly siteId: string
  readonly listen: { readonly people: Listen; readonly agents: Listen }
  /** Ed25519 keys whose route tokens are good now. */
  routeKeys(): readonly KeyObject[]
  isRevoked(host: string): boolean
  /** Origins whose pages may connect. Clients that are no browsers send none. */
  readonly allowedOrigins: readonly string[]
  readonly log: GatewayLog
  /** Unix time, ms. */
  clock(): number
  readonly limits: GatewayLimits
}

export interface GatewayLog {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}

/** Since the start; they only grow. */
export interface GatewayCounters {
  readonly joined: number
  readonly refused: number
}

export interface Gateway {
  readonly ports: { readonly people: number; readonly agents: number }
  /** Joined pairs. */
  readonly connections: number
  readonly counters: GatewayCounters
  /** Hosts that have a connection to spare. */
  hosts(): string[]
  /** New connections meet the new certificates, old ones go on. */
  setTls(tls: GatewayTls): void
  /** Cuts every connection of a host, spare or joined, at once. */
  closeHost(host: string): void
  /** Cuts everything. */
  close(): Promise<void>
}

/** What both ports of a gateway share. */
export interface GatewayState {
  readonly spares: Spares
  readonly pairs: Pairs
  /** Connections of people by session. */
  readonly sessions: Map<string, number>
  refused: number
}

/**
 * Starts a gateway. It joins the connections of people to those that hosts hold open towards it, and sees ciphertext
 * only (invariant I3): all it decides is admission, all it could do wrong is not to join.
 */
export async function createGateway(options: GatewayOptions): Promise<Gateway> {
  const { limits } = options
  const state: GatewayState = {
    spares: new Spares(limits),
    pairs: new Pairs(limits.lingerMs),
    sessions: new Map(),
    refused: 0,
  }
  const people = createPeoplePort(options, state)
  const agents = createAgentsPort(options, state)
  try {
    await people.listen(options.listen.people)
    await agents.listen(options.listen.agents)
  } catch (error) {
    // Half a gateway is none.
    await Promise.all([people.close(), agents.close()])
    throw error
  }
  return {
    ports: { people: people.port, agents: agents.port },
    get connections() {
      return state.pairs.count
    },
    get counters() {
      return { joined: state.pairs.total, refused: state.refused }
    },
    hosts: () => state.spares.hosts(),
    setTls: ({ peopleTls, agentTls }) => {
      people.server.setSecureContext(peopleTls)
      agents.server.setSecureContext(agentTls)
    },
    closeHost: (host) => {
      state.spares.closeHost(host)
      state.pairs.closeHost(host)
    },
    close: async () => {
      await Promise.all([people.close(), agents.close()])
    },
  }
}
