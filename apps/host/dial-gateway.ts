import { request } from 'node:https'
import type { Duplex } from 'node:stream'
import type { ConnectionOptions } from 'node:tls'
import { relayPath, relayProtocol } from '#core/agent/messages.ts'
import { HostError } from './host-error.ts'

const dialMs = 10_000
/** Finds a gateway that vanished without a word. */
const keepAliveMs = 15_000

/**
 * Opens a connection on which a gateway may later put a person through.
 *
 * @param agentUrl `https://…` of the gateway's port for hosts
 * @param tls client options that prove this host and accept this gateway alone
 * @returns silent until a person's request comes; nothing was read beyond the gateway's answer
 * @throws {HostError} HOST_RELAY_REFUSED; whatever TLS and the network throw
 */
export async function dialGateway(
  agentUrl: string,
  tls: ConnectionOptions,
  signal: AbortSignal,
): Promise<Duplex> {
  const { promise, resolve, reject } = Promise.withResolvers<Duplex>()
  const dialling = request(new URL(relayPath, agentUrl), {
    ...tls,
    // Every connection proves itself anew: no pool, no session to resume.
    agent: false,
    headers: { connection: 'upgrade', upgrade: relayProtocol },
  })
  const giveUp = (): void =>
    void dialling.destroy(new HostError('HOST_RELAY_REFUSED', 'the gateway did not answer'))
  const timeout = setTimeout(giveUp, dialMs)
  signal.addEventListener('abort', giveUp, { once: true })
  if (signal.aborted) giveUp()
  dialling.once('upgrade', (response, socket, early) => {
    if (response.headers.upgrade !== relayProtocol) {
      socket.destroy()
      return reject(new HostError('HOST_RELAY_REFUSED', `expected an upgrade to ${relayProtocol}`))
    }
    socket.on('error', () => undefined)
    socket.setKeepAlive(true, keepAliveMs)
    socket.setNoDelay(true)
    if (early.length > 0) socket.unshift(early)
    resolve(socket)
  })
  dialling.once('response', (response) => {
    response.destroy()
    reject(new HostError('HOST_RELAY_REFUSED', `the gateway answered ${response.statusCode}`))
  })
  dialling.on('error', reject)
  dialling.end()
  try {
    return await promise
  } finally {
    clearTimeout(timeout)
    signal.removeEventListener('abort', giveUp)
  }
}
