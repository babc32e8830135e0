import { createServer, type Server } from 'node:https'
import { type AddressInfo, isIPv6, type Socket } from 'node:net'
import type { TlsOptions } from 'node:tls'
import type { GatewayLimits } from './limits.ts'

/** Where a port listens; port 0 is any free one. */
export interface Listen {
  readonly address: string
  readonly port: number
}

/** An HTTPS server that strangers may dial: every wait and every size has a bound. */
export class Listener {
  readonly server: Server
  readonly #sockets = new Set<Socket>()

  /**
   * @param connections at the same time, in all
   * @param perSource of them, from one source
   */
  constructor(tls: TlsOptions, limits: GatewayLimits, connections: number, perSource: number) {
    this.server = createServer({
      ...tls,
      // One side of a joined pair may end while the other still speaks.
      allowHalfOpen: true,
      noDelay: true,
      // Finds peers that vanished without a word.
      keepAlive: true,
      keepAliveInitialDelay: 15_000,
      handshakeTimeout: limits.handshakeMs,
      headersTimeout: limits.handshakeMs,
      requestTimeout: limits.handshakeMs,
      connectionsCheckingInterval: limits.handshakeMs / 2,
      maxHeaderSize: limits.headBytes,
    })
    this.server.maxConnections = connections
    const sources = new Map<string, number>()
    this.server.on('connection', (socket: Socket) => {
      const source = sourceOf(socket.remoteAddress ?? '')
      const count = (sources.get(source) ?? 0) + 1
      sources.set(source, count)
      this.#track(socket)
      socket.once('close', () => {
        const rest = (sources.get(source) ?? 1) - 1
        if (rest > 0) sources.set(source, rest)
        else sources.delete(source)
      })
      if (count > perSource) socket.destroy()
    })
    // The end of the one below is not always the end of the one above.
    this.server.on('secureConnection', (socket: Socket) => this.#track(socket))
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  async listen({ address, port }: Listen): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', reject)
      this.server.listen(port, address, resolve)
    })
  }

  /** Closes the port and cuts every connection. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
  }
}

/** Whoever has an IPv6 address has its whole /64. */
function sourceOf(address: string): string {
  if (!isIPv6(address) || address.startsWith('::ffff:')) return address
  const [left = '', right] = address.split('::')
  const [front, back] = [left, right ?? ''].map((half) => half.split(':').filter((group) => group !== ''))
  const zeros = Array.from({ length: 8 - (front?.length ?? 0) - (back?.length ?? 0) }, () => '0')
  return [...(front ?? []), ...zeros, ...(back ?? [])].slice(0, 4).join(':')
}
