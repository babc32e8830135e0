import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** Width and height, pixels. */
export interface Size {
  readonly width: number
  readonly height: number
}

/**
 * Asks the display server behind `socketPath` whether it is whole, and for its size.
 *
 * Spec: RFC 6143 7.1 and 7.3: version, security type None, shared ClientInit, ServerInit (width u16 | height u16 | …).
 *
 * @throws when it does not speak RFB, wants authentication or is silent for longer than `signal` allows
 */
export async function probe(socketPath: string, signal: AbortSignal): Promise<Size> {
  return withConnection(socketPath, signal, async (_, size) => size)
}

/**
 * Asks for another size, as a viewer does.
 *
 * Spec: rfbproto SetDesktopSize: 251 | pad | width u16 | height u16 | screens u8 | pad |
 * screen: id u32 | x u16 | y u16 | width u16 | height u16 | flags u32. The client must have announced
 * ExtendedDesktopSize (-308). An update is sent only when asked for, so its arrival says that the size was handled.
 */
export async function resize(socketPath: string, wanted: Size, signal: AbortSignal): Promise<void> {
  await withConnection(socketPath, signal, async (connection, size) => {
    if (size.width === wanted.width && size.height === wanted.height) return
    const encodings = Buffer.from([2, 0, 0, 1, 0xff, 0xff, 0xfe, 0xcc])
    const request = Buffer.alloc(24)
    request.writeUInt8(251, 0)
    request.writeUInt16BE(wanted.width, 2)
    request.writeUInt16BE(wanted.height, 4)
    request.writeUInt8(1, 6)
    request.writeUInt16BE(wanted.width, 16)
    request.writeUInt16BE(wanted.height, 18)
    const update = Buffer.from([3, 0, 0, 0, 0, 0, 0, 1, 0, 1])
    connection.write(Buffer.concat([encodings, request, update]))
    await read(connection, 4, signal)
  })
}

async function withConnection<T>(
  socketPath: string,
  signal: AbortSignal,
  use: (connection: Socket, size: Size) => Promise<T>,
): Promise<T> {
  const connection = connect(socketPath)
  try {
    await once(connection, 'connect', { signal })
    const version = (await read(connection, 12, signal)).toString('latin1')
    if (!version.startsWith('RFB 003.')) throw new Error(`expected an RFB greeting, got ${version}`)
    connection.write('RFB 003.008\n')
    const count = (await read(connection, 1, signal))[0] ?? 0
    if (!(await read(connection, count, signal)).includes(1)) throw new Error('security type None is off')
    connection.write(Buffer.from([1]))
    if ((await read(connection, 4, signal)).readUInt32BE() !== 0) throw new Error('connection refused')
    connection.write(Buffer.from([1]))
    const init = await read(connection, 24, signal)
    await read(connection, init.readUInt32BE(20), signal)
    return await use(connection, { width: init.readUInt16BE(0), height: init.readUInt16BE(2) })
  } finally {
    connection.destroy()
  }
}

async function read(connection: Socket, length: number, signal: AbortSignal): Promise<Buffer> {
  if (length > 1024) throw new Error(`expected a short greeting, got ${length} bytes announced`)
  if (length === 0) return Buffer.alloc(0)
  for (;;) {
    const bytes = connection.read(length) as Buffer | null
    if (bytes !== null && bytes.length === length) return bytes
    if (connection.readableEnded || connection.destroyed) throw new Error('the display server hung up')
    await Promise.race([once(connection, 'readable', { signal }), once(connection, 'end', { signal })])
  }
}
