import { createPrivateKey } from 'node:crypto'
import { connect, type TLSSocket } from 'node:tls'
import type { TlsIdentity } from '#adapters/pki-x509/index.ts'
import {
  answerRound,
  BeaconError,
  beaconKey,
  decodeBytes,
  maxBeaconStatementChars,
  nonceBytes,
  rounds,
} from '#core/beacon/index.ts'
import { readLines } from './lines.ts'

/** What an endpoint asks a beacon with. */
export interface BeaconQuestion {
  /** `tls://name:port` */
  readonly url: string
  /** The beacon's public key, 32 bytes, base64url: nobody else is talked to. */
  readonly key: string
  /** The site's challenge, 32 bytes, base64url. */
  readonly nonce: string
  /** The endpoint's certificate and key; the key answers the beacon's challenges, too. */
  readonly identity: TlsIdentity
}

const timeoutMs = 5_000

/**
 * Has a beacon time this endpoint.
 *
 * @returns the beacon's statement, to be sent to the site as it is
 * @throws {BeaconError} BEACON_AWAY, BEACON_MALFORMED; the signal's reason
 */
export async function askBeacon(question: BeaconQuestion, signal: AbortSignal): Promise<string> {
  const either = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
  const socket = dial(question)
  const stop = (): void => void socket.destroy(asError(either.reason))
  either.addEventListener('abort', stop)
  try {
    either.throwIfAborted()
    return await converse(socket, question)
  } catch (error) {
    signal.throwIfAborted()
    if (error instanceof BeaconError) throw error
    throw new BeaconError('BEACON_AWAY', `the beacon ${question.url} does not answer`, { cause: error })
  } finally {
    either.removeEventListener('abort', stop)
    socket.destroy()
  }
}

/** INVARIANT: what is at the other end is known by its key alone, so no authority and no name are asked. */
function dial({ url, key, identity }: BeaconQuestion): TLSSocket {
  const { hostname, port } = new URL(url)
  const expected = beaconKey(key).export({ format: 'der', type: 'spki' })
  const socket = connect({
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port),
    minVersion: 'TLSv1.3',
    cert: identity.chainPem,
    key: identity.privateKeyPem,
    rejectUnauthorized: false,
  })
  socket.setNoDelay(true)
  socket.on('secureConnect', () => {
    const found = socket.getPeerX509Certificate()?.publicKey.export({ format: 'der', type: 'spki' })
    if (found?.equals(expected) !== true)
      socket.destroy(new BeaconError('BEACON_AWAY', `who answers at ${url} is not this beacon`))
  })
  return socket
}

async function converse(socket: TLSSocket, { nonce, identity }: BeaconQuestion): Promise<string> {
  const key = createPrivateKey(identity.privateKeyPem)
  const nonceIn = decodeBytes(nonce, nonceBytes)
  const lines = readLines(socket)
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  socket.once('error', reject).once('close', () => reject(new Error('the connection was closed')))
  // After the check of who it is, which listens first.
  socket.once('secureConnect', () => (socket.destroyed ? undefined : resolve()))
  await promise
  socket.write(`${nonce}\n`)
  for (let round = 0; round < rounds; round++) {
    const challenge = decodeBytes((await lines.next()).text, nonceBytes)
    socket.write(`${Buffer.from(answerRound(nonceIn, challenge, key)).toString('base64url')}\n`)
  }
  const { text } = await lines.next()
  if (text.length <= maxBeaconStatementChars) return text
  throw new BeaconError(
    'BEACON_MALFORMED',
    `expected a statement of at most ${maxBeaconStatementChars} characters, got ${text.length}`,
  )
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason))
}
