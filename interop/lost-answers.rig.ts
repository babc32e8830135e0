import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'

/** A way to one port of this machine's loopback on which answers get lost. */
export interface LossyWay extends AsyncDisposable {
  readonly port: number
}

/**
 * Passes all that clients say, and of what they are told the handshake alone: after it TLS 1.3 without resumption has nothing to say but
 * answers. Each connection breaks a moment after its answer came.
 */
export async function startLossyWay(port: number): Promise<LossyWay> {
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1')
    let isShaken = false
    let wasAnswered = false
    let timer: NodeJS.Timeout | undefined
    client.on('data', (data: Buffer) => {
      isShaken ||= wasAnswered
      upstream.write(data)
    })
    upstream.on('data', (data: Buffer) => {
      wasAnswered = true
      if (!isShaken) {
        client.write(data)
        return
      }
      // Not at the first byte: all of the question must have gone before.
      clearTimeout(timer)
      timer = setTimeout(() => client.destroy(), 300)
    })
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on('error', () => undefined)
      one.on('close', () => other.destroy())
    }
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => {
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
