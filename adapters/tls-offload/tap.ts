import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { contentType, type DirectionState, RecordSplitter } from '#core/tls/index.ts'

/** What NSS calls the secrets of TLS 1.3. Spec: draft-ietf-tls-keylogfile, section 3. */
const labels: ReadonlyMap<string, 'client' | 'server'> = new Map([
  ['CLIENT_TRAFFIC_SECRET_0', 'client'],
  ['SERVER_TRAFFIC_SECRET_0', 'server'],
])

/** What goes on with a connection that is taken out of OpenSSL. */
export interface Released {
  readonly raw: Socket
  /** With what came and was not yet given to OpenSSL. */
  readonly splitter: RecordSplitter
  readonly receiving: DirectionState
  readonly sending: DirectionState
}

/**
 * Stands between a server's TCP socket and OpenSSL. It passes on what comes record by record, so that OpenSSL has worked off one before it
 * sees the next, and knows how many records of either side are under the keys of the application.
 */
export class Tap extends Duplex {
  readonly #secrets: { client?: Uint8Array; server?: Uint8Array } = {}
  readonly #incoming = new RecordSplitter()
  readonly #outgoing = new RecordSplitter()
  #raw: Socket | undefined
  #peerHasFinished = false
  #peerIsProtected = false
  #received = 0
  #sent = 0

  /** @param onFeed called before each record that OpenSSL is given */
  constructor(raw: Socket, onFeed: () => void) {
    super()
    this.#raw = raw
    raw.on('data', this.#onData).on('end', this.#onEnd).on('close', this.#onClose).on('error', this.#onError)
    // Before OpenSSL's own listener.
    this.on('data', (record: Uint8Array) => {
      if (this.#peerHasFinished) this.#received += 1
      if (record[0] === contentType.applicationData) this.#peerIsProtected = true
      onFeed()
    })
  }

  /** @param line of the `keylog` event: label, client random and secret, in hexadecimal digits */
  note(line: Buffer): void {
    const [name = '', , secret = ''] = line.toString('latin1').trim().split(' ')
    const side = labels.get(name)
    if (side !== undefined) this.#secrets[side] = Uint8Array.from(Buffer.from(secret, 'hex'))
  }

  /** The handshake is over: the next record of the peer is the first under the application's key. */
  finished(): void {
    this.#peerHasFinished = true
  }

  /** OpenSSL gets nothing more, and what it still says is dropped. @returns undefined when the handshake is not over, or the peer is gone */
  release(): Released | undefined {
    const raw = this.#raw
    const { client, server } = this.#secrets
    if (raw === undefined || !this.#peerHasFinished || client === undefined || server === undefined)
      return undefined
    this.#raw = undefined
    raw
      .off('data', this.#onData)
      .off('end', this.#onEnd)
      .off('close', this.#onClose)
      .off('error', this.#onError)
    return {
      raw,
      splitter: this.#incoming,
      receiving: { secret: client, sequence: this.#received },
      sending: { secret: server, sequence: this.#sent },
    }
  }

  readonly #onData = (bytes: Buffer): void => {
    this.#incoming.add(bytes)
    this.#feed()
  }
  readonly #onEnd = (): void => void this.push(null)
  readonly #onClose = (): void => void this.destroy()
  readonly #onError = (error: Error): void => void this.destroy(error)

  #feed(): void {
    try {
      while (this.#raw !== undefined) {
        const record = this.#incoming.next()
        if (record === undefined) return
        if (!this.push(record)) this.#raw?.pause()
      }
    } catch (error) {
      this.destroy(error instanceof Error ? error : new Error(String(error)))
    }
  }

  override _read(): void {
    this.#raw?.resume()
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#raw === undefined) return done()
    // The server's own handshake is over before the peer says anything protected: what follows is under the application's key.
    if (this.#peerIsProtected) {
      this.#outgoing.add(bytes)
      while (this.#outgoing.next() !== undefined) this.#sent += 1
    }
    this.#raw.write(bytes, done)
  }

  override _final(done: () => void): void {
    this.#raw?.end()
    done()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#raw?.destroy()
    done(error)
  }
}
