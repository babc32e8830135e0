import type { Duplex } from 'node:stream'
import { createServer, type TLSSocket, type TlsOptions } from 'node:tls'
import { NbdServerError } from './nbd-server-error.ts'

/**
 * Makes the server's end of TLS of a connection; call it before another byte is read from it.
 *
 * A server that never listens does it: only a server looks at `requestCert` and `rejectUnauthorized`.
 *
 * @throws {NbdServerError} NBD_TLS_FAILED
 */
export async function startTls(plain: Duplex, options: TlsOptions): Promise<TLSSocket> {
  const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>()
  const server = createServer({ ...options, allowHalfOpen: true }, resolve)
  server.once('tlsClientError', reject)
  plain.once('close', () => reject(new Error('the client left')))
  server.emit('connection', plain)
  try {
    return await promise
  } catch (cause) {
    plain.destroy()
    const why = cause instanceof Error ? cause.message : 'unknown'
    throw new NbdServerError('NBD_TLS_FAILED', `TLS did not come about: ${why}`, { cause })
  }
}
