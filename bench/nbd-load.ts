/**
 * A client of NBD that costs next to nothing, so that what it measures is the server: keeps a number of reads of 4 KiB
 * at random places in flight, and counts what comes back without looking at it. Prints reads a second.
 *
 *     node bench/nbd-load.ts SOCKET DEPTH SECONDS
 */
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'

const [path = '', depthText, secondsText] = process.argv.slice(2)
const [depth, seconds] = [Number(depthText), Number(secondsText)]
const block = 4096
const [requestBytes, replyBytes] = [28, 16 + block]
const socket = connect(path)
await once(socket, 'connect')
const sizeBytes = await handshake()
const requests = requestRing(65_536)
let [sent, received, at] = [0, 0, 0]
const started = performance.now()
socket.on('data', (bytes: Buffer) => {
  received += bytes.length
  const answered = Math.floor(received / replyBytes)
  const elapsedMs = performance.now() - started
  if (elapsedMs < seconds * 1000) send(answered + depth - sent)
  else if (answered === sent) leave(answered / (elapsedMs / 1000))
})
send(depth)

/** Asks for the default export without structured replies. @returns its size */
async function handshake(): Promise<bigint> {
  await read(18)
  // NBD_FLAG_C_FIXED_NEWSTYLE and NBD_FLAG_C_NO_ZEROES; then NBD_OPT_EXPORT_NAME of the empty name.
  const option = Buffer.alloc(20)
  option.writeUInt32BE(3)
  option.write('IHAVEOPT', 4)
  option.writeUInt32BE(1, 12)
  socket.write(option)
  return (await read(10)).readBigUInt64BE()
}

async function read(length: number): Promise<Buffer> {
  for (;;) {
    const bytes = socket.read(length) as Buffer | null
    if (bytes !== null) return bytes
    await once(socket, 'readable')
  }
}

/** Encoded requests, used over and over. */
function requestRing(count: number): Buffer {
  const ring = Buffer.alloc(count * requestBytes)
  const blocks = Number(sizeBytes / BigInt(block))
  for (let index = 0; index < count; index++) {
    const start = index * requestBytes
    ring.writeUInt32BE(0x25609513, start)
    ring.writeBigUInt64BE(BigInt(index), start + 8)
    ring.writeBigUInt64BE(BigInt(randomInt(blocks)) * BigInt(block), start + 16)
    ring.writeUInt32BE(block, start + 24)
  }
  return ring
}

/** NBD_CMD_DISC: some servers mind being left without a word. */
function leave(rate: number): void {
  const request = Buffer.alloc(requestBytes)
  request.writeUInt32BE(0x25609513)
  request.writeUInt16BE(2, 6)
  socket.end(request)
  process.stdout.write(`${rate}\n`)
}

function send(count: number): void {
  for (let left = count; left > 0; ) {
    const part = Math.min(left, requests.length / requestBytes - at)
    socket.write(requests.subarray(at * requestBytes, (at + part) * requestBytes))
    at = (at + part) % (requests.length / requestBytes)
    left -= part
  }
  sent += count
}
