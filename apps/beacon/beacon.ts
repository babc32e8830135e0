import { type KeyObject, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer, type TLSSocket } from 'node:tls'
import { peerIdentity, selfSigned, serverTls, siteOfRoot } from '#adapters/pki-x509/index.ts'
import type { AgentLog } from '#apps/agent-client/index.ts'
import {
  BeaconError,
  checkRound,
  decodeBytes,
  keyThumbprint,
  makeBeaconStatement,
  nonceBytes,
  rounds,
} from '#core/beacon/index.ts'
import { type Lines, readLines } from './lines.ts'

export interface BeaconOptions {
  /** Ed25519, private. */
  readonly key: KeyObject
  /** Root certificate of the site whose endpoints it times, PEM. */
  readonly rootPem: string
  readonly listen: { readonly address: string; readonly port: number }
  readonly log: AgentLog
}

/** A beacon that serves. */
export interface Beacon extends AsyncDisposable {
  readonly port: number
}

/** An endpoint needs a few milliseconds; nobody holds a place here for longer. */
const conversationMs = 5_000
const maxConnections = 500
const signatureBytes = 64

/**
 * Times every endpoint of the site that asks, and signs what it has measured. It keeps nothing and knows nothing of the site's but its
 * root: whether an endpoint was revoked is the site's to know, which reads the statement.
 */
export async function startBeacon({ key, rootPem, listen, log }: BeaconOptions): Promise<Beacon> {
  const siteId = siteOfRoot(rootPem)
  const identity = await selfSigned(key, 'Trustcast beacon', Date.now())
  const server = createServer({
    ...serverTls(identity, rootPem),
    handshakeTimeout: conversationMs,
    noDelay: true,
  })
  server.maxConnections = maxConnections
  server.on('secureConnection', (socket) => {
    const timer = setTimeout(() => socket.destroy(), conversationMs)
    socket.once('close', () => clearTimeout(timer))
    serve(socket, key, siteId).catch((error: unknown) => {
      log.warn({ err: error, peer: socket.remoteAddress }, 'an endpoint was not timed')
      socket.destroy()
    })
  })
  server.on('tlsClientError', (error, socket) => {
    log.warn({ err: error, peer: socket.remoteAddress }, 'a connection was refused')
  })
  const sockets = new Set<TLSSocket>()
  server.on('secureConnection', (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.listen(listen.port, listen.address)
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => {
      server.close()
      for (const socket of sockets) socket.destroy()
      if (server.listening) await once(server, 'close')
    },
  }
}

async function serve(socket: TLSSocket, key: KeyObject, siteId: string): Promise<void> {
  const lines = readLines(socket)
  const { id: endpoint } = peerIdentity(socket, siteId, ['endpoint'])
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) throw new BeaconError('BEACON_UNPROVEN', 'expected a certificate')
  const { publicKey } = certificate
  const nonce = decodeBytes((await lines.next()).text, nonceBytes)
  let rttMs = Number.POSITIVE_INFINITY
  for (let round = 0; round < rounds; round++)
    rttMs = Math.min(rttMs, await timeRound(socket, lines, { nonce, publicKey }))
  const statement = {
    nonce: Buffer.from(nonce).toString('base64url'),
    endpoint,
    thumbprint: keyThumbprint(publicKey),
    rttMs: Math.ceil(rttMs * 1000) / 1000,
    at: Date.now(),
  }
  socket.end(`${makeBeaconStatement(statement, key)}\n`)
}

/** @returns ms from the challenge to the whole answer; checking it takes no part in this */
async function timeRound(
  socket: TLSSocket,
  lines: Lines,
  { nonce, publicKey }: { readonly nonce: Uint8Array; readonly publicKey: KeyObject },
): Promise<number> {
  const challenge = randomBytes(nonceBytes)
  const sentAt = performance.now()
  socket.write(`${challenge.toString('base64url')}\n`)
  const { text, at } = await lines.next()
  checkRound({ nonce, challenge }, decodeBytes(text, signatureBytes), publicKey)
  return at - sentAt
}
