/** What a gateway lets strangers use up. */
export interface GatewayLimits {
  /** Largest head of a request, bytes. */
  readonly headBytes: number
  /** For a TLS handshake, and again for the head of a request. */
  readonly handshakeMs: number
  /** Connections of people, joined or not: in all, and from one IPv4 address or IPv6 /64. */
  readonly connections: number
  readonly connectionsPerSource: number
  /** Connections of hosts, spare or joined. */
  readonly hostConnections: number
  readonly sparesPerHost: number
  /** Age at which a spare is closed; its host dials a new one and proves its certificate again. */
  readonly spareMs: number
  /** Connections of one session at a time: a page and its next one, not a flood with one admission. */
  readonly connectionsPerSession: number
  /** People who wait for a spare at the same time, and for how long. */
  readonly waiting: number
  readonly waitMs: number
  /** How long the rest of a joined pair may take when one side has ended. */
  readonly lingerMs: number
}

export const defaultLimits: GatewayLimits = {
  headBytes: 8192,
  handshakeMs: 10_000,
  connections: 10_000,
  connectionsPerSource: 1000,
  hostConnections: 20_000,
  sparesPerHost: 64,
  spareMs: 600_000,
  connectionsPerSession: 8,
  waiting: 1000,
  waitMs: 5000,
  lingerMs: 30_000,
}
