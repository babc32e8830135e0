import type { Socket } from 'node:net'
import type { Server, TLSSocket } from 'node:tls'
import { cipherSuite } from '#core/tls/index.ts'
import { OffloadedSocket } from './offloaded-socket.ts'
import { Tap } from './tap.ts'

/**
 * Lets the connections of a TLS 1.3 server be taken out of OpenSSL once their handshake is over, as kernels do that protect records themselves:
 * OpenSSL keeps some 60 KiB for each connection, what is needed to go on is two keys. On the wire nothing changes.
 *
 * @param server that does not listen yet, and whose handshakes wait for nothing: no `SNICallback`
 * @returns takes one connection over, at once and for good; the `TLSSocket` is destroyed. What it has read already and not yet
 *   emitted is lost: for use at `upgrade`. Throws when the connection is none of the server's, or its handshake is not over
 */
export function offloadable(server: Server): (socket: TLSSocket) => OffloadedSocket {
  const taps = new WeakMap<TLSSocket, Tap>()
  let fed: Tap | undefined
  const accept = server.listeners('connection')
  server.removeAllListeners('connection')
  server.on('connection', (raw: Socket) => {
    const tap: Tap = new Tap(raw, () => {
      fed = tap
    })
    for (const listener of accept) Reflect.apply(listener, server, [tap])
  })
  // OpenSSL tells of the secrets while it is fed with what they follow from.
  server.on('keylog', (line, socket) => {
    const tap = taps.get(socket) ?? fed
    if (tap === undefined) return
    taps.set(socket, tap)
    tap.note(line)
  })
  server.on('secureConnection', (socket) => taps.get(socket)?.finished())
  return (socket) => {
    const suite = cipherSuite(socket.getCipher().standardName)
    const released = taps.get(socket)?.release()
    if (suite === undefined || released === undefined) throw new Error('a connection cannot be taken over')
    socket.destroy()
    return new OffloadedSocket(released, suite)
  }
}
