import { BytesError, concatBytes, encodeUtf8, Reader, Writer } from '#core/bytes/index.ts'
import { ChannelError } from './errors.ts'
import { maximumMessageBytes } from './noise.ts'
import { idBytes } from './ticket.ts'

const version = 1
const kinds = { ticket: 1, resume: 2 } as const
const refusals = { unknown: 1, busy: 2, malformed: 3 } as const
const maximumHandshakeBytes = 1024

export type OpenKind = keyof typeof kinds

/** `unknown` is also what a wrong key gets, so that nobody learns which tickets exist. */
export type Refusal = keyof typeof refusals

/**
 * The client's first message: version u8 = 1 | kind u8 (1 ticket, 2 resume) | id 16 bytes | Noise message 1
 */
export interface OpenMessage {
  readonly kind: OpenKind
  readonly id: Uint8Array
  readonly noise: Uint8Array
}

/**
 * The host's answer: version u8 = 1 | status u8 (0 ok, 1 unknown, 2 busy, 3 malformed) | Noise message 2 when ok
 *
 * A refusal is not authenticated: the gateway can write one, too.
 */
export type Reply = { readonly noise: Uint8Array } | { readonly refusal: Refusal }

export function encodeOpen({ kind, id, noise }: OpenMessage): Uint8Array {
  return new Writer(maximumHandshakeBytes).u8(version).u8(kinds[kind]).bytes(id).bytes(noise).finish()
}

/** @param bytes untrusted @throws {ChannelError} CHANNEL_MALFORMED */
export function decodeOpen(bytes: Uint8Array): OpenMessage {
  return decoded('open message', bytes, (reader) => {
    const kind = nameOf(kinds, reader.u8())
    const id = reader.bytes(idBytes)
    return { kind, id, noise: reader.rest(maximumHandshakeBytes) }
  })
}

export function encodeReply(reply: Reply): Uint8Array {
  const writer = new Writer(maximumHandshakeBytes).u8(version)
  if ('refusal' in reply) return writer.u8(refusals[reply.refusal]).finish()
  return writer.u8(0).bytes(reply.noise).finish()
}

/** @param bytes untrusted @throws {ChannelError} CHANNEL_MALFORMED */
export function decodeReply(bytes: Uint8Array): Reply {
  return decoded('reply', bytes, (reader) => {
    const status = reader.u8()
    if (status === 0) return { noise: reader.rest(maximumHandshakeBytes) }
    reader.end()
    return { refusal: nameOf(refusals, status) }
  })
}

/** Binds the handshake to what is opened and to the caller's context. */
export function openPrologue(kind: OpenKind, id: Uint8Array, context: Uint8Array): Uint8Array {
  return concatBytes(encodeUtf8('trustcast-channel-1'), Uint8Array.of(kinds[kind]), id, context)
}

/** The payload of both handshake messages: how much of the other side's sequence has been received, u64. */
export function encodeReceived(received: number): Uint8Array {
  return new Writer(8).u64(BigInt(received)).finish()
}

/** @throws {ChannelError} CHANNEL_MALFORMED */
export function decodeReceived(payload: Uint8Array): number {
  return guarded('count', () => {
    const reader = new Reader(payload)
    const received = reader.u64()
    reader.end()
    return safeCount(received)
  })
}

/** A u64 that a number can count. @throws {ChannelError} CHANNEL_MALFORMED */
export function safeCount(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new ChannelError('CHANNEL_MALFORMED', `expected a count below 2^53, got ${value}`)
  }
  return Number(value)
}

/** Runs a decoder; bytes it cannot take are malformed. @throws {ChannelError} CHANNEL_MALFORMED */
export function guarded<Value>(what: string, decode: () => Value): Value {
  try {
    return decode()
  } catch (cause) {
    if (!(cause instanceof BytesError)) throw cause
    throw new ChannelError('CHANNEL_MALFORMED', `expected a whole ${what}: ${cause.message}`, { cause })
  }
}

function decoded<Value>(what: string, bytes: Uint8Array, decode: (reader: Reader) => Value): Value {
  return guarded(what, () => {
    if (bytes.length > maximumMessageBytes) {
      throw new ChannelError('CHANNEL_MALFORMED', `expected a short ${what}, got ${bytes.length} bytes`)
    }
    const reader = new Reader(bytes)
    const got = reader.u8()
    if (got !== version)
      throw new ChannelError('CHANNEL_MALFORMED', `expected version ${version}, got ${got}`)
    return decode(reader)
  })
}

function nameOf<Name extends string>(table: Readonly<Record<Name, number>>, value: number): Name {
  for (const name of Object.keys(table) as Name[]) if (table[name] === value) return name
  throw new ChannelError(
    'CHANNEL_MALFORMED',
    `expected one of ${Object.values(table).join(', ')}, got ${value}`,
  )
}
