import { createServer } from 'node:net'
import { CodedError } from '#core/errors/coded-error.ts'
import { devicePort } from '#core/handoff/index.ts'

export type UpErrorCode = 'UP_PORT_TAKEN' | 'UP_NEEDS_ROOT' | 'UP_PART_FAILED'
export class UpError extends CodedError<UpErrorCode> {}

/** The ports of a site on one machine, counted from the first; that of the service of a device, which may be this one, is left out. */
export interface Ports {
  readonly people: number
  readonly agents: number
  readonly gateways: readonly { readonly people: number; readonly agents: number }[]
}

export function portsFrom(first: number, gateways: number): Ports {
  const port = (step: number): number =>
    first + step + (first < devicePort && first + step >= devicePort ? 1 : 0)
  return {
    people: first,
    agents: port(1),
    gateways: Array.from({ length: gateways }, (_, index) => ({
      people: port(2 + 2 * index),
      agents: port(3 + 2 * index),
    })),
  }
}

/** @throws {UpError} UP_PORT_TAKEN, before anything was started */
export async function requireFree(ports: Ports): Promise<void> {
  const all = [
    ports.people,
    ports.agents,
    ...ports.gateways.flatMap((gateway) => [gateway.people, gateway.agents]),
  ]
  for (const port of all) {
    await new Promise<void>((resolve, reject) => {
      const probe = createServer()
      probe.once('error', (cause) =>
        reject(
          new UpError('UP_PORT_TAKEN', `port ${port} is used by another program`, {
            remedy: 'End it, or choose other ports with --port.',
            cause,
          }),
        ),
      )
      probe.listen(port, '127.0.0.1', () => probe.close(() => resolve()))
    })
  }
}
