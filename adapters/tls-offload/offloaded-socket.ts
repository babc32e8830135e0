import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { type CipherSuite, type RecordSplitter, TlsConnection } from '#core/tls/index.ts'
import type { Released } from './tap.ts'

/** A TLS connection without OpenSSL: its socket, and what core/tls knows of it. Reads and writes the application's bytes. */
export class OffloadedSocket extends Duplex {
  readonly #raw: Socket
  readonly #splitter: RecordSplitter
  readonly #tls: TlsConnection

  constructor({ raw, splitter, receiving, sending }: Released, suite: CipherSuite) {
    super({ allowHalfOpen: false })
    this.#raw = raw
    this.#splitter = splitter
    this.#tls = new TlsConnection({ suite, receiving, sending })
    raw.on('data', (bytes: Buffer) => {
      this.#splitter.add(bytes)
      this.#receive()
    })
    // Whether that was the whole is for what is spoken over it to know: WebSocket says goodbye itself.
    raw.on('end', () => this.push(null))
    raw.on('close', () => this.destroy())
    raw.on('error', (error) => this.destroy(error))
    raw.resume()
    this.#receive()
  }

  get remoteAddress(): string | undefined {
    return this.#raw.remoteAddress
  }

  #receive(): void {
    try {
      for (let record = this.#splitter.next(); record !== undefined; record = this.#splitter.next()) {
        const received = this.#tls.receive(record)
        if (received.kind === 'closed') return void this.push(null)
        if (received.kind === 'data' && received.bytes.length > 0 && !this.push(received.bytes))
          this.#raw.pause()
      }
    } catch (error) {
      const alert = this.#tls.alert(error)
      if (alert !== undefined) this.#raw.write(alert)
      this.destroy(error instanceof Error ? error : new Error(String(error)))
    }
  }

  override _read(): void {
    this.#raw.resume()
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#raw.write(concatRecords(this.#tls.send(bytes)), done)
  }

  override _writev(parts: readonly { readonly chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this._write(Buffer.concat(parts.map(({ chunk }) => chunk)), 'binary', done)
  }

  override _final(done: () => void): void {
    this.#raw.end(this.#tls.close(), () => done())
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#raw.destroy()
    done(error)
  }
}

function concatRecords(records: readonly Uint8Array[]): Uint8Array {
  const [first, ...more] = records
  return first !== undefined && more.length === 0 ? first : Buffer.concat(records)
}
