import { readFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { WebSocket, WebSocketServer } from 'ws'
import { serverTls, type TlsIdentity } from '#adapters/pki-x509/index.ts'
import { dialRoute } from '#apps/cli/dial-route.ts'
import { trustOf } from '#apps/site-client/call.ts'
import { channelProtocol, routePrefix } from '#core/agent/messages.ts'
import type { Dial, Invitation } from '../hosted-person.rig.ts'
import type { RunningSite } from '../running-site.rig.ts'

export type Way = 'up' | 'down'

/** One person's connection with the one to the host that belongs to it. */
export interface Wire {
  readonly person: WebSocket
  host: WebSocket
  readonly log: { readonly way: Way; readonly message: Buffer }[]
}

/**
 * A gateway that somebody has taken over: it proves itself with the real one's key and certificate, sees every byte
 * inside TLS and may do with them as it likes.
 */
export class EvilGateway implements AsyncDisposable {
  /** What is passed on in place of a message. */
  meddle: (message: Buffer, way: Way, wire: Wire) => readonly Buffer[] = (message) => [message]
  /** Which admission is shown to the real gateway in place of the person's. */
  routeToken: (token: string) => string = (token) => token
  readonly wires: Wire[] = []
  readonly #site: RunningSite
  readonly #server: Server
  readonly #sockets = new Set<WebSocket>()

  private constructor(site: RunningSite, server: Server) {
    this.#site = site
    this.#server = server
  }

  static async start(site: RunningSite): Promise<EvilGateway> {
    const identity = JSON.parse(
      await readFile(join(site.state, 'gateway-1/agent.json'), 'utf8'),
    ) as TlsIdentity
    const server = createServer(serverTls(identity))
    const evil = new EvilGateway(site, server)
    const people = new WebSocketServer({
      server,
      perMessageDeflate: false,
      handleProtocols: () => channelProtocol,
    })
    people.on('connection', (person, request) => {
      const offered = request.headers['sec-websocket-protocol']?.split(',').map((one) => one.trim()) ?? []
      const token = offered.find((one) => one.startsWith(routePrefix))?.slice(routePrefix.length) ?? ''
      evil.#join(person, evil.routeToken(token))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return evil
  }

  /** For a person whose site sent them here. */
  dial({ delivery: { routes } }: Invitation): Dial {
    const url = `https://localhost:${(this.#server.address() as AddressInfo).port}`
    return (signal) => dialRoute(this.#site.address, { url, token: routes[0]?.token ?? '' }, signal)
  }

  /** Everything it has seen. */
  get seen(): Buffer {
    return Buffer.concat(this.wires.flatMap(({ log }) => log.map(({ message }) => message)))
  }

  /** A connection of its own to the real gateway. */
  openUpstream(token: string): WebSocket {
    const url = `wss://localhost:${this.#site.port + 2}/channel`
    return this.#keep(
      new WebSocket(url, [channelProtocol, routePrefix + token], {
        ...trustOf(this.#site.address),
        perMessageDeflate: false,
      }),
    )
  }

  /** From now on what one person says goes to the other's host, and back. */
  cross(one: Wire, other: Wire): void {
    ;[one.host, other.host] = [other.host, one.host]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.terminate()
    await new Promise((resolve) => {
      this.#server.close(resolve)
      this.#server.closeAllConnections()
    })
  }

  #join(person: WebSocket, token: string): void {
    this.#keep(person)
    const host = this.openUpstream(token)
    const wire: Wire = { person, host, log: [] }
    this.wires.push(wire)
    const isOpen = new Promise((resolve) => host.once('open', resolve))
    person.on('message', (data: Buffer) => {
      wire.log.push({ way: 'up', message: data })
      void this.#passUp(data, wire, isOpen)
    })
    host.on('message', (data: Buffer) => {
      const joined = this.wires.find((one) => one.host === host) ?? wire
      joined.log.push({ way: 'down', message: data })
      for (const message of this.meddle(data, 'down', joined)) joined.person.send(message)
    })
    person.once('close', () => wire.host.close())
    host.once('close', () => this.wires.find((one) => one.host === host)?.person.close())
  }

  async #passUp(data: Buffer, wire: Wire, isOpen: Promise<unknown>): Promise<void> {
    await isOpen
    for (const message of this.meddle(data, 'up', wire)) wire.host.send(message)
  }

  #keep(socket: WebSocket): WebSocket {
    this.#sockets.add(socket)
    socket.on('error', () => socket.terminate())
    socket.once('close', () => this.#sockets.delete(socket))
    return socket
  }
}
