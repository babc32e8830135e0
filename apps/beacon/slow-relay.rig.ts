import { once } from 'node:events'
import { type AddressInfo, connect as connectTcp, createServer } from 'node:net'

/** A line that holds everything back for a while, as a long one does, in both directions. */
export async function slowRelay(port: number, delayMs: number): Promise<{ port: number } & AsyncDisposable> {
  const server = createServer((socket) => {
    const onward = connectTcp(port, '127.0.0.1')
    for (const [from, to] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      from.on('data', (data) => setTimeout(() => to.write(data), delayMs))
      from.on('error', () => to.destroy()).on('close', () => setTimeout(() => to.destroy(), delayMs))
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: async () => void server.close(),
  }
}
