import { NetworkError } from './network-error.ts'

/**
 * DHCP messages (RFC 2131 section 2, options of RFC 2132):
 *
 *     0 op | 1 htype | 2 hlen | 3 hops | 4 xid u32 | 8 secs u16 | 10 flags u16 | 12 ciaddr | 16 yiaddr | 20 siaddr | 24 giaddr
 *     28 chaddr 16 | 44 sname 64 | 108 file 128 | 236 cookie 63 82 53 63 | 240 options: code, length, value …
 *
 * Addresses are dotted, everything is big-endian.
 */
export interface DhcpMessage {
  /** 1 BOOTREQUEST, 2 BOOTREPLY. */
  readonly op: 1 | 2
  readonly xid: number
  /** 0x8000: the answer shall be broadcast. */
  readonly flags: number
  readonly ciaddr: string
  readonly yiaddr: string
  readonly siaddr: string
  readonly giaddr: string
  /** Hardware address, 6 bytes of Ethernet. */
  readonly chaddr: Uint8Array
  /** By code. The parts of a long option are joined (RFC 3396). */
  readonly options: ReadonlyMap<number, Uint8Array>
}

/** Codes of the options that are of use here. */
export const dhcpOption: {
  readonly router: 3
  readonly dns: 6
  readonly messageType: 53
  readonly serverIdentifier: 54
  readonly parameterRequest: 55
  readonly captivePortal: 114
  readonly classlessRoutes: 121
} = {
  router: 3,
  dns: 6,
  messageType: 53,
  serverIdentifier: 54,
  parameterRequest: 55,
  captivePortal: 114,
  classlessRoutes: 121,
}

export const dhcpType: { readonly discover: 1; readonly offer: 2; readonly ack: 5 } = {
  discover: 1,
  offer: 2,
  ack: 5,
}

const cookie = 0x63825363
const headBytes = 240
/** More fits no Ethernet frame, and servers keep to 576 unless asked. */
const maxBytes = 1500
const hardwareBytes = 6
const pad = 0
const end = 255

/** @throws {NetworkError} NETWORK_BAD_OPTION for an option that is too long */
export function encodeDhcp(message: DhcpMessage): Uint8Array {
  const head = Buffer.alloc(headBytes)
  head.writeUInt8(message.op, 0)
  head.writeUInt8(1, 1)
  head.writeUInt8(hardwareBytes, 2)
  head.writeUInt32BE(message.xid, 4)
  head.writeUInt16BE(message.flags, 10)
  for (const [at, address] of [
    [12, message.ciaddr],
    [16, message.yiaddr],
    [20, message.siaddr],
    [24, message.giaddr],
  ] as const)
    head.writeUInt32BE(quadToNumber(address), at)
  head.set(message.chaddr.subarray(0, hardwareBytes), 28)
  head.writeUInt32BE(cookie, 236)
  const options = [...message.options].map(([code, value]) => {
    if (value.length > 255)
      throw new NetworkError(
        'NETWORK_BAD_OPTION',
        `option ${code} has at most 255 bytes here, got ${value.length}`,
      )
    return Buffer.concat([Buffer.from([code, value.length]), value])
  })
  return Buffer.concat([head, ...options, Buffer.from([end])])
}

/**
 * @param bytes of one datagram, untrusted
 * @throws {NetworkError} NETWORK_BAD_DHCP
 */
export function decodeDhcp(bytes: Uint8Array): DhcpMessage {
  if (bytes.length < headBytes || bytes.length > maxBytes)
    throw bad(`expected ${headBytes} to ${maxBytes} bytes, got ${bytes.length}`)
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  const op = data.readUInt8(0)
  if (op !== 1 && op !== 2) throw bad(`expected op 1 or 2, got ${op}`)
  if (data.readUInt8(2) !== hardwareBytes) throw bad('expected hardware addresses of 6 bytes')
  if (data.readUInt32BE(236) !== cookie) throw bad('expected the magic cookie of DHCP')
  const address = (at: number): string => numberToQuad(data.readUInt32BE(at))
  return {
    op,
    xid: data.readUInt32BE(4),
    flags: data.readUInt16BE(10),
    ciaddr: address(12),
    yiaddr: address(16),
    siaddr: address(20),
    giaddr: address(24),
    chaddr: new Uint8Array(data.subarray(28, 28 + hardwareBytes)),
    options: decodeOptions(data.subarray(headBytes)),
  }
}

/** Options in `sname` and `file` (option 52) are left unread: what looks here asks for nothing long. */
function decodeOptions(bytes: Buffer): ReadonlyMap<number, Uint8Array> {
  const options = new Map<number, Uint8Array>()
  for (let at = 0; at < bytes.length; ) {
    const code = bytes.readUInt8(at)
    at += 1
    if (code === end) return options
    if (code === pad) continue
    const length = at < bytes.length ? bytes.readUInt8(at) : bytes.length
    at += 1
    if (at + length > bytes.length) throw bad(`option ${code} goes beyond the end of the message`)
    const value = bytes.subarray(at, at + length)
    options.set(code, new Uint8Array(Buffer.concat([options.get(code) ?? Buffer.alloc(0), value])))
    at += length
  }
  return options
}

/** A route that a DHCP server pushes. */
export interface PushedRoute {
  /** `address/prefix` */
  readonly destination: string
  readonly router: string
}

/**
 * Classless static routes (RFC 3442): prefix length, as many bytes of the destination as that needs, router.
 *
 * @throws {NetworkError} NETWORK_BAD_OPTION
 */
export function decodeClasslessRoutes(value: Uint8Array): readonly PushedRoute[] {
  const routes: PushedRoute[] = []
  for (let at = 0; at < value.length; ) {
    const prefix = value[at] ?? 0
    const significant = Math.ceil(prefix / 8)
    if (prefix > 32 || at + 1 + significant + 4 > value.length)
      throw new NetworkError('NETWORK_BAD_OPTION', 'expected routes of prefix, destination and router')
    const destination = Buffer.alloc(4)
    destination.set(value.subarray(at + 1, at + 1 + significant))
    const router = Buffer.from(value.subarray(at + 1 + significant, at + 5 + significant))
    // Bits beyond the prefix are ignored, as clients do.
    const mask = prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0
    routes.push({
      destination: `${numberToQuad((destination.readUInt32BE() & mask) >>> 0)}/${prefix}`,
      router: numberToQuad(router.readUInt32BE()),
    })
    at += 5 + significant
  }
  return routes
}

/** A list of addresses, as of routers (3) and DNS servers (6); what is left over at its end is dropped. */
export function decodeAddresses(value: Uint8Array): readonly string[] {
  const data = Buffer.from(value)
  return Array.from({ length: Math.floor(data.length / 4) }, (_, index) =>
    numberToQuad(data.readUInt32BE(index * 4)),
  )
}

/** RFC 8910 section 2: a network that has no captive portal may say so with this URI. */
const unrestricted = 'urn:ietf:params:capport:unrestricted'

/** @returns the URI of a captive portal's API (RFC 8910); undefined when the network says that it has none, or nonsense */
export function captivePortalUri(value: Uint8Array): string | undefined {
  const text = Buffer.from(value).toString('latin1').replace(/\0$/, '')
  return text === unrestricted || !/^https?:\/\/[\x21-\x7e]{1,250}$/.test(text) ? undefined : text
}

function quadToNumber(text: string): number {
  const parts = text.split('.').map(Number)
  if (parts.length !== 4 || !parts.every((part) => Number.isInteger(part) && part >= 0 && part < 256))
    throw new NetworkError('NETWORK_BAD_OPTION', `expected an IPv4 address, got ${text.slice(0, 50)}`)
  return parts.reduce((sum, part) => sum * 256 + part, 0)
}

function numberToQuad(value: number): string {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff).join('.')
}

function bad(why: string): NetworkError {
  return new NetworkError('NETWORK_BAD_DHCP', why)
}
