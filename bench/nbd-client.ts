import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** A connection to an NBD server's default export, for benchmarks: it costs next to nothing and starts no program. */
export interface NbdConnection {
  readonly socket: Socket
  readonly sizeBytes: bigint
}

/** Of the header that goes before each reply's data (simple replies). */
export const replyHeaderBytes = 16
export const requestBytes = 28

/** Asks for the default export without structured replies. Spec: NBD, "Newstyle negotiation", NBD_OPT_EXPORT_NAME. */
export async function connectNbd(path: string): Promise<NbdConnection> {
  const socket = connect(path)
  await once(socket, 'connect')
  await take(socket, 18)
  // NBD_FLAG_C_FIXED_NEWSTYLE and NBD_FLAG_C_NO_ZEROES; then NBD_OPT_EXPORT_NAME of the empty name.
  const option = Buffer.alloc(20)
  option.writeUInt32BE(3)
  option.write('IHAVEOPT', 4)
  option.writeUInt32BE(1, 12)
  socket.write(option)
  return { socket, sizeBytes: (await take(socket, 10)).readBigUInt64BE() }
}

/** Writes NBD_CMD_READ to `request`. */
export function encodeRead(request: Buffer, cookie: bigint, offset: bigint, length: number): void {
  request.writeUInt32BE(0x25609513)
  request.writeBigUInt64BE(cookie, 8)
  request.writeBigUInt64BE(offset, 16)
  request.writeUInt32BE(length, 24)
}

/** Reads once, and leaves. @throws when the server says an error */
export async function readOnce(path: string, offset: bigint, length: number): Promise<Buffer> {
  const { socket } = await connectNbd(path)
  const request = Buffer.alloc(requestBytes)
  encodeRead(request, 1n, offset, length)
  socket.write(request)
  const error = (await take(socket, replyHeaderBytes)).readUInt32BE(4)
  if (error !== 0) throw new Error(`the server answered with error ${error}`)
  const bytes = await take(socket, length)
  socket.destroy()
  return bytes
}

/** Reads a whole disk from its beginning, the next part when the last has come: MB/s. */
export async function readInTurn(path: string, length: number): Promise<number> {
  const started = performance.now()
  const { socket, sizeBytes } = await connectNbd(path)
  const request = Buffer.alloc(requestBytes)
  for (let at = 0n; at < sizeBytes; at += BigInt(length)) {
    const part = Math.min(length, Number(sizeBytes - at))
    encodeRead(request, at, at, part)
    socket.write(request)
    await drop(socket, replyHeaderBytes + part)
  }
  socket.destroy()
  return Number(sizeBytes) / 1e6 / ((performance.now() - started) / 1000)
}

async function drop(socket: Socket, length: number): Promise<void> {
  for (let left = length; left > 0; ) {
    const bytes = socket.read() as Buffer | null
    if (bytes === null) await once(socket, 'readable')
    else left -= bytes.length
  }
}

async function take(socket: Socket, length: number): Promise<Buffer> {
  for (;;) {
    const bytes = socket.read(length) as Buffer | null
    if (bytes !== null) return bytes
    await once(socket, 'readable')
  }
}
