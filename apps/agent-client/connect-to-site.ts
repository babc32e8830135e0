import type { IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { TLSSocket } from 'node:tls'
import { type RawData, WebSocket } from 'ws'
import type { z } from 'zod'
import { channelBinding, clientTls } from '#adapters/pki-x509/index.ts'
import { agentPath } from '#core/agent/messages.ts'
import { type AgentIdentity, readIdentity } from './agent-identity.ts'
import type { AgentLog } from './agent-log.ts'
import { backoff } from './backoff.ts'
import { saidOnce } from './said-once.ts'
import { steadyMs } from './steady-clock.ts'

const maxMessageBytes = 4 * 1024 * 1024
/** For the site to answer that the agent leaves. */
const farewellMs = 1_000
const handshakeMs = 10_000
/** The site pings every 10 s; after three missed ones it is gone. */
const silenceMs = 30_000
const listenMs = 1_000

/** What one connection is made with. */
export interface SiteConnectionTerms {
  /** Whose certificate it was opened with. */
  readonly identity: AgentIdentity
  /** Exporter of the connection (RFC 9266), base64url: equal on both ends, and on no two connections. */
  readonly exporter: string
}

export interface SiteConnectionOptions<In, Out> {
  /** Holds the identity; read again for each connection, so that a renewed certificate is used. */
  readonly dir: string
  /** Of the site's messages; one that does not fit closes the connection. */
  readonly decode: z.ZodType<In>
  readonly onMessage: (message: In) => void
  /** What each connection begins with: the hello, then the state of things. */
  readonly hello: (terms: SiteConnectionTerms) => readonly Out[]
  /** It was over, or never came to be. @param error absent for an orderly end */
  readonly onLost?: (error: Error | undefined) => void
  /** How long the site may be silent; 30 s unless said otherwise. */
  readonly silenceMs?: number
  /** The site knows this agent no more, or has revoked it: said by the site itself, which has proved who it is. */
  readonly onRefused?: () => void
  /** Another clock, for tests. */
  readonly steadyMs?: () => number
  readonly log: AgentLog
}

export interface SiteConnection<Out> {
  /** @returns false when the site is away: the message is dropped, since the next connection begins with all there is to say */
  send(message: Out): boolean
  readonly isConnected: boolean
  /** Resolves after the signal, when the connection is closed. */
  readonly done: Promise<void>
}

/**
 * Keeps an agent connected to its site until the signal: one WebSocket over mutual TLS, dialled again with growing pauses
 * whenever it breaks.
 */
export function connectToSite<In, Out>(
  given: SiteConnectionOptions<In, Out>,
  signal: AbortSignal,
): SiteConnection<Out> {
  const options = { ...given, log: saidOnce(given.log) }
  let socket: WebSocket | undefined
  const run = async (): Promise<void> => {
    for (let failures = 0; !signal.aborted; ) {
      try {
        const identity = await readIdentity(options.dir)
        if (signal.aborted) return
        socket = openSocket(identity)
        if (await converse(socket, identity, options, signal)) failures = 0
      } catch (error) {
        options.log.warn({ err: error }, 'the site cannot be dialled')
      }
      await sleep(backoff(failures++), undefined, { signal }).catch(() => undefined)
    }
  }
  return {
    send: (message) => {
      if (socket?.readyState !== WebSocket.OPEN) return false
      socket.send(JSON.stringify(message))
      return true
    },
    get isConnected() {
      return socket?.readyState === WebSocket.OPEN
    },
    done: run(),
  }
}

function openSocket(identity: AgentIdentity): WebSocket {
  const { rootPem, siteId, agentUrl } = identity
  const url = new URL(agentPath, agentUrl)
  url.protocol = 'wss:'
  return new WebSocket(url, {
    ...clientTls(rootPem, { siteId, role: 'site' }, identity),
    perMessageDeflate: false,
    maxPayload: maxMessageBytes,
    handshakeTimeout: handshakeMs,
  })
}

/** @returns once the connection is closed: whether the site said anything that could be used */
async function converse<In, Out>(
  socket: WebSocket,
  identity: AgentIdentity,
  options: SiteConnectionOptions<In, Out>,
  signal: AbortSignal,
): Promise<boolean> {
  const { log } = options
  const { promise, resolve } = Promise.withResolvers<boolean>()
  let wasHeard = false
  let failure: Error | undefined
  let exporter = ''
  const { steadyMs: clock = steadyMs } = options
  let heardAt = clock()
  // By a clock that goes on while this machine sleeps: what slept for so long dials at once when it wakes.
  const watch = setInterval(() => {
    if (clock() - heardAt >= (options.silenceMs ?? silenceMs)) socket.terminate()
  }, listenMs)
  const hear = (): void => {
    heardAt = clock()
  }
  // What was said last is heard before the site answers the farewell.
  const leave = (): void => {
    socket.close(1001)
    setTimeout(() => socket.terminate(), farewellMs).unref()
  }
  signal.addEventListener('abort', leave)
  socket.on('upgrade', ({ socket: tls }: IncomingMessage) => {
    if (tls instanceof TLSSocket) exporter = channelBinding(tls)
  })
  socket.on('error', (error) => {
    failure = error
    if (!signal.aborted) log.warn({ err: error }, 'the connection to the site failed')
  })
  socket.on('unexpected-response', (_request, { statusCode }) => {
    log.warn({ statusCode }, 'the site turned this agent away')
    if (statusCode === 403) options.onRefused?.()
    socket.terminate()
  })
  socket.on('open', () => {
    log.info({}, 'connected to the site')
    for (const message of options.hello({ identity, exporter })) socket.send(JSON.stringify(message))
  })
  socket.on('ping', hear)
  socket.on('message', (data) => {
    hear()
    try {
      options.onMessage(options.decode.parse(JSON.parse(textOf(data))))
      wasHeard = true
    } catch (error) {
      log.warn({ err: error }, 'a message of the site could not be used')
      socket.close(1008)
    }
  })
  socket.on('close', () => {
    clearInterval(watch)
    signal.removeEventListener('abort', leave)
    options.onLost?.(failure)
    resolve(wasHeard)
  })
  return promise
}

function textOf(data: RawData): string {
  return Buffer.isBuffer(data) ? data.toString() : Buffer.concat([data].flat() as Buffer[]).toString()
}
