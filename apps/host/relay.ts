import type { Duplex } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { createPace } from './pace.ts'
import type { PeopleDoor } from './people-door.ts'

const sparesPerGateway = 2
const firstDelayMs = 250
const longestDelayMs = 15_000
/** Shorter than a gateway keeps a spare: the change is ours and never meets a person half-way. */
const spareMs = 240_000
/** A spare that lived so long unused was a good one. */
const goodSpareMs = 10_000
/** INVARIANT: a gateway that uses up spares, or says another address again and again, cannot make this host dial without end. */
const dialPace = { burst: 100, perSecond: 20 }

/** A gateway that the site told of. */
export interface Gateway {
  readonly id: string
  readonly agentUrl: string
}

export interface RelayOptions {
  dial(gateway: Gateway, signal: AbortSignal): Promise<Duplex>
  readonly door: PeopleDoor
  readonly log: Logger
}

/** Keeps spare connections to every gateway, so that a person who comes there is put through at once. */
export interface Relay {
  /** The whole list; idempotent. People who came through a gateway that is not on it any more stay connected. */
  desire(gateways: readonly Gateway[]): void
  close(): void
}

export function createRelay(options: RelayOptions): Relay {
  const kept = new Map<string, AbortController>()
  const paces = new Map<string, () => number>()
  return {
    desire(gateways) {
      const wanted = new Map(gateways.map((gateway) => [`${gateway.id} ${gateway.agentUrl}`, gateway]))
      for (const [name, stop] of kept) {
        if (wanted.has(name)) continue
        stop.abort()
        kept.delete(name)
      }
      for (const [name, gateway] of wanted) {
        if (kept.has(name)) continue
        const stop = new AbortController()
        kept.set(name, stop)
        const pace = paces.get(gateway.id) ?? createPace(dialPace, () => performance.now())
        paces.set(gateway.id, pace)
        for (let spare = 0; spare < sparesPerGateway; spare++)
          void keepSpare(gateway, options, pace, stop.signal)
      }
    },
    close() {
      for (const stop of kept.values()) stop.abort()
      kept.clear()
    },
  }
}

/** Keeps one spare, as long as the gateway is wanted. */
async function keepSpare(
  gateway: Gateway,
  options: RelayOptions,
  pace: () => number,
  signal: AbortSignal,
): Promise<void> {
  let failures = 0
  for (;;) {
    await delay(Math.max(backOff(failures), pace()), undefined, { signal }).catch(() => undefined)
    if (signal.aborted) return
    const began = performance.now()
    try {
      const used = await holdSpare(await options.dial(gateway, signal), options.door, signal)
      failures = used || performance.now() - began > goodSpareMs ? 0 : failures + 1
    } catch (error) {
      if (signal.aborted) return
      // Once: a gateway that is away for long shall not fill the log.
      if (failures === 0)
        options.log.warn({ err: error, gateway: gateway.id }, 'a gateway could not be reached')
      failures += 1
    }
  }
}

/** Waits until the spare is used, closed or old. True when it was used. */
async function holdSpare(socket: Duplex, door: PeopleDoor, signal: AbortSignal): Promise<boolean> {
  const close = (): void => void socket.destroy()
  const ageing = setTimeout(close, spareMs * (0.75 + Math.random() / 4))
  signal.addEventListener('abort', close, { once: true })
  try {
    return await door.admit(socket)
  } finally {
    clearTimeout(ageing)
    signal.removeEventListener('abort', close)
  }
}

/** The jitter keeps the hosts of a fallen gateway from coming back together. */
function backOff(failures: number): number {
  if (failures === 0) return 0
  return Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(failures, 10)) * (0.5 + Math.random() / 2)
}
