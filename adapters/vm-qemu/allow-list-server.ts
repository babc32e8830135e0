import { lookup } from 'node:dns'
import { once } from 'node:events'
import { BlockList, connect, createServer, type LookupFunction, type Server, type Socket } from 'node:net'
import { type AllowList, answerName, destinationOf, isIpv4 } from '#core/vm/index.ts'

/**
 * What carries out a VM's network policy on the machine's side. The forwarder in the VM's own network connects here
 * for each connection of the guest, says in one line what it is, and is joined to the real destination if the release
 * lists that:
 *
 *     TCP ADDRESS PORT     then the bytes of both directions
 *     DNS                  then questions and answers as over TCP: length u16, message
 *
 * The forwarder is not trusted: what it may ask for is the same as what the guest may.
 */
const headLimit = 64
const dialMs = 15_000
const mostConnections = 512
const mostTold = 100

/** Of names only: where a listed name must not lead. An address that is listed itself is what people signed. */
const ownAddresses = new BlockList()
for (const [network, bits] of [
  ['0.0.0.0', 8],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['224.0.0.0', 3],
] as const)
  ownAddresses.addSubnet(network, bits, 'ipv4')

export interface AllowListOptions {
  readonly path: string
  readonly allow: AllowList
  /** Told where connections were refused or failed, once each: a guest dials as often as it likes. */
  readonly warn: (error: unknown) => void
}

/** Listens on a unix socket that only its owner can use. */
export async function serveAllowList(given: AllowListOptions): Promise<Server> {
  const options = { ...given, warn: onceEach(given.warn) }
  const server = createServer({ allowHalfOpen: true }, (socket) => void serve(socket, options))
  server.maxConnections = mostConnections
  const umask = process.umask(0o177)
  try {
    server.listen(options.path)
  } finally {
    process.umask(umask)
  }
  await once(server, 'listening')
  return server
}

function onceEach(warn: (error: unknown) => void): (error: unknown) => void {
  const told = new Set<string>()
  return (error) => {
    const said = String(error)
    if (told.has(said) || told.size >= mostTold) return
    told.add(said)
    warn(error)
  }
}

async function serve(socket: Socket, { allow, warn }: AllowListOptions): Promise<void> {
  socket.on('error', () => socket.destroy())
  try {
    const { head, rest } = await readHead(socket)
    const [kind, address = '', port = ''] = head.split(' ')
    if (kind === 'DNS') {
      answerNames(socket, rest, allow)
      return
    }
    const to = kind === 'TCP' ? destinationOf(allow, address, Number(port)) : undefined
    if (to === undefined) throw new Error(`the VM may not reach ${head}`)
    const onward = connect({ host: to.host, port: to.port, allowHalfOpen: true, lookup: lookupOutside })
    onward.setTimeout(dialMs, () => onward.destroy(new Error(`${to.host}:${to.port} does not answer`)))
    await once(onward, 'connect')
    onward.setTimeout(0)
    join(socket, onward, rest)
  } catch (error) {
    warn(error)
    socket.destroy()
  }
}

async function readHead(socket: Socket): Promise<{ readonly head: string; readonly rest: Buffer }> {
  let bytes = Buffer.alloc(0)
  for await (const more of socket.iterator({ destroyOnReturn: false })) {
    bytes = Buffer.concat([bytes, more as Buffer])
    const end = bytes.indexOf(10)
    if (end >= 0) return { head: bytes.subarray(0, end).toString('latin1'), rest: bytes.subarray(end + 1) }
    if (bytes.length > headLimit) break
  }
  throw new Error('expected a line that says where to')
}

function join(socket: Socket, onward: Socket, rest: Buffer): void {
  // Who ends in good order is passed on as that, by `pipe`.
  onward.on('error', () => socket.destroy())
  socket.on('close', () => onward.destroy())
  if (rest.length > 0) onward.write(rest)
  socket.pipe(onward).pipe(socket)
}

function answerNames(socket: Socket, rest: Buffer, allow: AllowList): void {
  let bytes = rest
  const take = (more: Buffer): void => {
    bytes = Buffer.concat([bytes, more])
    while (bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE(0)) {
      const length = bytes.readUInt16BE(0)
      const answer = answerName(bytes.subarray(2, 2 + length), allow)
      bytes = bytes.subarray(2 + length)
      if (answer === undefined) continue
      const size = Buffer.alloc(2)
      size.writeUInt16BE(answer.length)
      socket.write(Buffer.concat([size, answer]))
    }
  }
  take(Buffer.alloc(0))
  socket.on('data', take)
  socket.on('end', () => socket.end())
}

/** Whoever answers for a listed name cannot lead the guest to this machine itself. */
const lookupOutside: LookupFunction = (name, options, callback) => {
  lookup(name, { ...options, family: 4, all: false }, (error, address) => {
    const isOwn = error === null && isIpv4(address) && ownAddresses.check(address, 'ipv4')
    const refused = isOwn
      ? Object.assign(new Error(`${name} leads to this machine`), { code: 'EACCES' })
      : error
    if (options.all === true) callback(refused, refused ? [] : [{ address, family: 4 }])
    else callback(refused, address, 4)
  })
}
