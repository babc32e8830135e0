import { once } from 'node:events'
import { lstat, rm } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TlsOptions } from 'node:tls'
import type { NbdExport, Refusal } from '#core/nbd/index.ts'
import { Connection } from './connection.ts'
import { NbdServerError } from './nbd-server-error.ts'
import { deviceErrors, refusalBy } from './refusal-by.ts'

export interface NbdServerOptions {
  /** The first one is the default export. The devices belong to the caller and outlive the server. */
  readonly exports: readonly NbdExport[]
  /** What a client is told of an error of a device; absent: `refusalBy` with what core's own devices throw. */
  readonly refusalOf?: (error: unknown) => Refusal
  /** Told of each client that was dropped, and why. */
  readonly onDropped?: (error: unknown) => void
  readonly maximumConnections?: number
}

/** How long requests in flight may take after `close`; afterwards their devices are asked to give up. */
const closingMs = 1000
/** A client that has vanished without a word is asked after so long, and its place is free when it does not answer. */
const keepAlive = { keepAlive: true, keepAliveInitialDelay: 30_000 }

/**
 * Serves block devices by NBD, to any number of connections at once, on any number of sockets.
 *
 * Lifetime: whoever makes it closes it.
 */
export class NbdServer implements AsyncDisposable {
  readonly #options: Required<NbdServerOptions>
  readonly #listeners = new Set<Server>()
  readonly #connections = new Map<Connection, Promise<void>>()
  #closing = false

  constructor(options: NbdServerOptions) {
    this.#options = {
      refusalOf: refusalBy(deviceErrors),
      onDropped: () => {},
      maximumConnections: 64,
      ...options,
    }
  }

  /**
   * Listens on a unix socket that only its owner can use. One that a dead server left behind is replaced.
   *
   * @throws {NbdServerError} NBD_SOCKET_IN_USE
   */
  async listenUnix(path: string): Promise<void> {
    await removeStale(path)
    await this.#listen((listener) => listener.listen(path))
  }

  /**
   * Listens on TCP, where clients must begin TLS before anything else.
   *
   * @param tls asked anew for each connection, so that a renewed certificate is used
   * @returns the port
   */
  async listenTcp(where: { host: string; port: number }, tls: () => TlsOptions): Promise<number> {
    const address = (await this.#listen((listener) => listener.listen(where), tls)).address()
    return typeof address === 'object' && address ? address.port : where.port
  }

  /**
   * Listens on a socket that was opened by whoever started the process: systemd's socket activation.
   *
   * @param fd the file descriptor of a listening socket
   * @param tls needed unless it is a unix socket
   * @throws {NbdServerError} NBD_TLS_NEEDED
   */
  async listenDescriptor(fd: number, tls?: () => TlsOptions): Promise<void> {
    const listener = await this.#listen((listener) => listener.listen({ fd }), tls)
    // Of an inherited unix socket there is no address.
    if (tls || listener.address() === null) return
    listener.close()
    throw new NbdServerError('NBD_TLS_NEEDED', `descriptor ${fd} is no unix socket, so it needs TLS`, {
      remedy: 'Listen on a unix socket, or give a certificate.',
    })
  }

  /**
   * Serves one client on a connection that exists already, until it ends. Never rejects: why a client was dropped goes
   * to `onDropped`.
   */
  async serve(stream: Duplex, tls?: () => TlsOptions): Promise<void> {
    if (this.#closing || this.#connections.size >= this.#options.maximumConnections) {
      stream.destroy()
      if (!this.#closing) this.#options.onDropped(tooMany(this.#connections.size))
      return
    }
    const connection = new Connection(stream, { ...this.#options, tls })
    const running = connection.run().catch(this.#options.onDropped)
    this.#connections.set(connection, running)
    await running
    this.#connections.delete(connection)
  }

  /** Stops listening, answers what is in flight, refuses what still comes with ESHUTDOWN and ends all connections. */
  async close(): Promise<void> {
    this.#closing = true
    const ended = [...this.#connections.values()]
    for (const listener of this.#listeners) listener.close()
    const each = (act: (connection: Connection) => void): void => {
      for (const connection of this.#connections.keys()) act(connection)
    }
    each((connection) => connection.close())
    const timers = [
      setTimeout(() => each((connection) => connection.abort()), closingMs),
      setTimeout(() => each((connection) => connection.destroy()), 2 * closingMs),
    ]
    await Promise.all(ended)
    for (const timer of timers) clearTimeout(timer)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #listen(begin: (listener: Server) => void, tls?: () => TlsOptions): Promise<Server> {
    const listener = createServer({ allowHalfOpen: true, noDelay: true, ...keepAlive }, (socket) => {
      void this.serve(socket, tls)
    })
    // The socket is made before `listen` returns: nobody else can open it even for a moment.
    const umask = process.umask(0o177)
    try {
      begin(listener)
    } finally {
      process.umask(umask)
    }
    await once(listener, 'listening')
    listener.on('error', this.#options.onDropped)
    this.#listeners.add(listener)
    return listener
  }
}

/** @throws {NbdServerError} NBD_SOCKET_IN_USE */
async function removeStale(path: string): Promise<void> {
  const probe = connect(path)
  try {
    await once(probe, 'connect')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    // A file that is no socket refuses, too, and stays.
    if (code === 'ECONNREFUSED' && (await lstat(path)).isSocket()) await rm(path)
    return
  } finally {
    probe.destroy()
  }
  throw new NbdServerError('NBD_SOCKET_IN_USE', `another server answers on ${path}`, {
    remedy: 'Choose another path, or end that server.',
  })
}

function tooMany(count: number): NbdServerError {
  return new NbdServerError('NBD_TOO_MANY_CONNECTIONS', `${count} connections are open already`)
}
