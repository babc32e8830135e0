import { CodedError } from '#core/errors/coded-error.ts'

export type AddressErrorCode = 'ADDRESS_MALFORMED' | 'NETWORK_MALFORMED'
export class AddressError extends CodedError<AddressErrorCode> {}

/** An IP address. IPv4-mapped IPv6 addresses (RFC 4291 2.5.5.2) are the IPv4 addresses they mean. */
export interface IpAddress {
  readonly family: 4 | 6
  readonly bits: bigint
}

/** A range of addresses in CIDR notation (RFC 4632, RFC 4291 2.3). */
export interface Network extends IpAddress {
  readonly prefix: number
}

const maxAddressLength = 45
const mappedPrefix = 0xffffn << 32n

/**
 * Parses an address as RFC 4291 2.2 and dotted quads write them: no leading zeros in quads, no scope, no port.
 *
 * @throws {AddressError} ADDRESS_MALFORMED
 */
export function parseAddress(text: string): IpAddress {
  const address =
    text.length > maxAddressLength ? undefined : text.includes(':') ? parseV6(text) : parseV4(text)
  if (address) return address
  throw new AddressError('ADDRESS_MALFORMED', `expected an IP address, got ${quote(text)}`)
}

/**
 * Parses `address/prefix`. The bits beyond the prefix must be zero: a typing error there would silently
 * widen what the administrator meant.
 *
 * @throws {AddressError} NETWORK_MALFORMED, ADDRESS_MALFORMED
 */
export function parseNetwork(text: string): Network {
  const [, addressText = '', prefixText = ''] = /^([^/]+)\/(0|[1-9]\d{0,2})$/.exec(text) ?? []
  if (addressText === '') throw malformedNetwork(text, 'expected address/prefix such as 10.0.0.0/8')
  const { family, bits } = parseAddress(addressText)
  const mapped = family === 4 && addressText.includes(':')
  const prefix = Number(prefixText) - (mapped ? 96 : 0)
  const width = family === 4 ? 32 : 128
  if (prefix < 0 || prefix > width) throw malformedNetwork(text, 'the prefix does not fit the address')
  if (bits & ((1n << BigInt(width - prefix)) - 1n))
    throw malformedNetwork(text, 'the address has bits set beyond the prefix')
  return { family, bits, prefix }
}

/** The address as people write it: dotted, or RFC 5952 with the longest run of zeros left out. */
export function formatAddress({ family, bits }: IpAddress): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (bits >> shift) & 0xffn).join('.')
  const groups = Array.from({ length: 8 }, (_, i) => ((bits >> BigInt(112 - 16 * i)) & 0xffffn).toString(16))
  // The URL standard's IPv6 serializer is RFC 5952's.
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}

/** @returns true when the address lies in the network */
export function contains(network: Network, address: IpAddress): boolean {
  const shift = BigInt((network.family === 4 ? 32 : 128) - network.prefix)
  return network.family === address.family && network.bits >> shift === address.bits >> shift
}

function parseV4(text: string): IpAddress | undefined {
  const quads = text.split('.')
  if (quads.length !== 4) return undefined
  if (!quads.every((quad) => /^(0|[1-9]\d{0,2})$/.test(quad) && Number(quad) <= 255)) return undefined
  return { family: 4, bits: quads.reduce((bits, quad) => (bits << 8n) | BigInt(quad), 0n) }
}

function parseV6(text: string): IpAddress | undefined {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const [head, tail] = halves.map((half, index) => parseGroups(half, index === halves.length - 1))
  if (!head || (halves.length === 2 && !tail)) return undefined
  const missing = 8 - head.length - (tail?.length ?? 0)
  if (tail ? missing < 1 : missing !== 0) return undefined
  const groups = [...head, ...Array<bigint>(missing).fill(0n), ...(tail ?? [])]
  const bits = groups.reduce((bits, group) => (bits << 16n) | group, 0n)
  return bits >> 32n === mappedPrefix >> 32n ? { family: 4, bits: bits & 0xffffffffn } : { family: 6, bits }
}

/** Groups of 16 bits; the last two may be written as a dotted quad. */
function parseGroups(text: string, last: boolean): bigint[] | undefined {
  if (text === '') return []
  const groups: bigint[] = []
  const parts = text.split(':')
  for (const [index, part] of parts.entries()) {
    const quad = last && index === parts.length - 1 ? parseV4(part) : undefined
    if (quad) groups.push(quad.bits >> 16n, quad.bits & 0xffffn)
    else if (/^[0-9a-f]{1,4}$/i.test(part)) groups.push(BigInt(`0x${part}`))
    else return undefined
  }
  return groups
}

function malformedNetwork(text: string, problem: string): AddressError {
  return new AddressError('NETWORK_MALFORMED', `${quote(text)}: ${problem}`, {
    remedy: 'Write the network as its first address and prefix, such as 10.20.0.0/16 or 2001:db8::/32.',
  })
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 64))
}
