import type { TLSSocket } from 'node:tls'
import { BeaconError, maxLineChars } from '#core/beacon/index.ts'

/** One line after the other from the other end, with the time at which each was whole. */
export interface Lines {
  /** @throws {BeaconError} BEACON_AWAY when the connection ends first, BEACON_MALFORMED when a line has no end */
  next(): Promise<Line>
}

export interface Line {
  readonly text: string
  /** Steady clock, ms. */
  readonly at: number
}

/** More lines than one side ever says before it is answered. */
const maxWaiting = 16

/** Reads a socket by lines. What comes is bounded; whoever says more is cut off. */
export function readLines(socket: TLSSocket): Lines {
  const waiting: Line[] = []
  let rest = ''
  let failure: Error | undefined
  let wake: (() => void) | undefined
  const fail = (error: Error): void => {
    failure ??= error
    wake?.()
  }
  socket.on('data', (data: Buffer) => {
    const at = performance.now()
    const parts = (rest + data.toString('latin1')).split('\n')
    rest = parts.pop() ?? ''
    for (const text of parts) waiting.push({ text, at })
    if (rest.length > maxLineChars || waiting.length > maxWaiting) {
      fail(new BeaconError('BEACON_MALFORMED', `expected lines of at most ${maxLineChars} characters`))
      socket.destroy()
    }
    wake?.()
  })
  socket.on('error', fail)
  socket.on('close', () => fail(new Error('the other end closed the connection')))
  return {
    next: async () => {
      for (;;) {
        const line = waiting.shift()
        if (line !== undefined) return line
        if (failure instanceof BeaconError) throw failure
        if (failure !== undefined) throw new BeaconError('BEACON_AWAY', failure.message, { cause: failure })
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },
  }
}
