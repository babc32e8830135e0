import { constants } from 'node:crypto'
import { connect as connectTcp, isIP, type OnReadOpts, type Socket } from 'node:net'
import { connect as connectTls, createSecureContext, getCACertificates, type SecureContext } from 'node:tls'
import { BlobError, requireConfidential } from '#core/blobs/index.ts'
import type { HttpRequest } from './http-message.ts'

export interface ConnectOptions {
  /** Certificates of authorities, PEM, that are trusted instead of this machine's own. */
  readonly ca?: string
  /** Certificate chain and private key, PEM, that prove who asks. */
  readonly identity?: { readonly chainPem: string; readonly privateKeyPem: string }
  /** For how long a connection may be silent while an answer is expected; 20 seconds without. */
  readonly idleMs?: number
}

/** Whom a client speaks to, and how they are known. */
export interface Peer {
  readonly origin: string
  readonly host: string
  readonly port: number
  readonly idleMs: number
  /** Made when it is first asked for; absent when there is no TLS. */
  readonly secureContext: (() => SecureContext) | undefined
}

/**
 * A peer that sends less than this for long is as good as gone. Of one connection: all that ask at once share a line, and
 * must not give up on it together when it is a slow one.
 */
const slowestBytesPerMs = 4
const leastTotalMs = 60_000

/** @throws {BlobError} BLOB_BAD_STORE: INVARIANT I2, no plaintext to another machine */
export function peerOf(url: URL, options: ConnectOptions): Peer {
  requireConfidential(url)
  const isTls = url.protocol === 'https:'
  let context: SecureContext | undefined
  return {
    origin: url.origin,
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? (isTls ? 443 : 80) : Number(url.port),
    idleMs: options.idleMs ?? 20_000,
    secureContext: isTls ? () => (context ??= secureContext(options)) : undefined,
  }
}

export function connectTo(peer: Peer, onread: OnReadOpts): Socket {
  const address = { host: peer.host, port: peer.port, timeout: peer.idleMs, onread }
  const socket =
    peer.secureContext === undefined
      ? connectTcp(address)
      : connectTls({
          ...address,
          secureContext: peer.secureContext(),
          rejectUnauthorized: true,
          servername: isIP(peer.host) === 0 ? peer.host : '',
          ALPNProtocols: ['http/1.1'],
        })
  limitConnecting(socket, peer)
  return socket
}

/** Of a connection that is being made Node overlooks the first silence: what waits for it counts as being written. */
export function limitConnecting(socket: Socket, { origin, idleMs, secureContext }: Peer): void {
  const limit = setTimeout(() => socket.destroy(silent(origin)), idleMs)
  const clear = () => clearTimeout(limit)
  socket.once(secureContext === undefined ? 'connect' : 'secureConnect', clear).once('close', clear)
}

/** For a whole answer. */
export function deadlineMs({ body, range, maximumBytes }: HttpRequest): number {
  return leastTotalMs + (body?.length ?? range?.length ?? maximumBytes) / slowestBytesPerMs
}

export function silent(origin: string): BlobError {
  return new BlobError('BLOB_UNAVAILABLE', `${origin} has not answered for too long`)
}

/** Of every store that the machine's own authorities vouch for: reading these takes longer than connecting. */
let machineContext: SecureContext | undefined

/** Only TLS 1.3, and never a session again. */
function secureContext(options: ConnectOptions): SecureContext {
  if (options.ca !== undefined || options.identity !== undefined) return newSecureContext(options)
  machineContext ??= newSecureContext({})
  return machineContext
}

function newSecureContext({ ca, identity }: ConnectOptions): SecureContext {
  const system = ca === undefined ? getCACertificates('system') : []
  return createSecureContext({
    minVersion: 'TLSv1.3',
    secureOptions: constants.SSL_OP_NO_TICKET,
    // Without any of the machine's own, those that come with Node.
    ...(ca === undefined ? system.length > 0 && { ca: system } : { ca }),
    ...(identity && { cert: identity.chainPem, key: identity.privateKeyPem }),
  })
}
