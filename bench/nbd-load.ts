/**
 * A client of NBD that costs next to nothing, so that what it measures is the server: keeps a number of reads of 4 KiB
 * at random places in flight, and counts what comes back without looking at it. Prints reads a second.
 *
 *     node bench/nbd-load.ts SOCKET DEPTH SECONDS
 */
import { randomInt } from 'node:crypto'
import { connectNbd, encodeRead, replyHeaderBytes, requestBytes } from './nbd-client.ts'

const [path = '', depthText, secondsText] = process.argv.slice(2)
const [depth, seconds] = [Number(depthText), Number(secondsText)]
const block = 4096
const replyBytes = replyHeaderBytes + block
const { socket, sizeBytes } = await connectNbd(path)
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

/** Encoded requests, used over and over. */
function requestRing(count: number): Buffer {
  const ring = Buffer.alloc(count * requestBytes)
  const blocks = Number(sizeBytes / BigInt(block))
  for (let index = 0; index < count; index++) {
    const request = ring.subarray(index * requestBytes, (index + 1) * requestBytes)
    encodeRead(request, BigInt(index), BigInt(randomInt(blocks)) * BigInt(block), block)
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
