import { execFileSync } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { connect, createServer, type Socket } from 'node:net'

/**
 * A program of its own, since it lives in a network of its own: one that has nothing but itself, and in which every
 * address is here. Whatever QEMU dials for its guest arrives here and is passed on to `allow-list-server.ts` with
 * the address that was dialled. It ends with its standard input.
 *
 *     node network-forwarder.ts SOCKET UID PORT…
 */
const [socketPath = '', uid = '', ...ports] = process.argv.slice(2)

execFileSync('ip', ['link', 'set', 'lo', 'up'])
execFileSync('ip', ['route', 'add', 'local', '0.0.0.0/0', 'dev', 'lo'])
const listeners = ports.map((port) =>
  listen(Number(port), (socket) => `TCP ${socket.localAddress} ${port}\n`),
)
listeners.push(listen(53, () => 'DNS\n'))
const names = createSocket('udp4')
names.on('message', (query, { address, port }) => {
  const asked = connect(socketPath, () => asked.write(Buffer.concat([Buffer.from('DNS\n'), sized(query)])))
  let answer = Buffer.alloc(0)
  asked.on('data', (bytes) => {
    answer = Buffer.concat([answer, bytes])
    if (answer.length < 2 || answer.length < 2 + answer.readUInt16BE(0)) return
    names.send(answer.subarray(2, 2 + answer.readUInt16BE(0)), port, address)
    asked.end()
  })
  asked.setTimeout(5_000, () => asked.destroy())
  asked.on('error', () => asked.destroy())
})
await Promise.all([...listeners, new Promise<void>((resolve) => names.bind(53, '0.0.0.0', resolve))])
process.setgroups?.([])
process.setgid?.(Number(uid))
process.setuid?.(Number(uid))
process.stdin.on('end', () => process.exit(0)).resume()
process.stdout.write('ready\n')

function listen(port: number, head: (socket: Socket) => string): Promise<void> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const onward = connect({ path: socketPath, allowHalfOpen: true }, () => onward.write(head(socket)))
    socket.on('error', () => onward.destroy()).on('close', () => onward.destroy())
    onward.on('error', () => socket.destroy())
    onward.once('connect', () => socket.pipe(onward).pipe(socket))
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '0.0.0.0', resolve)
  })
}

function sized(message: Buffer): Buffer {
  const size = Buffer.alloc(2)
  size.writeUInt16BE(message.length)
  return Buffer.concat([size, message])
}
