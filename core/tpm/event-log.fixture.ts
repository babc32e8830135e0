import { createHash } from 'node:crypto'

/** Writes event logs as firmware does; see `event-log.ts`. */

export interface WrittenEvent {
  readonly pcr: number
  readonly type: number
  /** SHA-256 of the data, hex. */
  readonly digest: string
  readonly data: Buffer
}

export function measured(pcr: number, type: number, data: Buffer): WrittenEvent {
  return { pcr, type, digest: createHash('sha256').update(data).digest('hex'), data }
}

/** UEFI_VARIABLE_DATA of a global variable. */
export function variable(name: string, data: Buffer): Buffer {
  const lengths = Buffer.alloc(16)
  lengths.writeBigUInt64LE(BigInt(name.length), 0)
  lengths.writeBigUInt64LE(BigInt(data.length), 8)
  const guid = Buffer.from('61dfe48bca93d211aa0d00e098032b8c', 'hex')
  return Buffer.concat([guid, lengths, Buffer.from(name, 'utf16le'), data])
}

export function logOf(events: readonly WrittenEvent[]): Buffer {
  const specId = Buffer.concat([
    Buffer.from('Spec ID Event03\0'),
    Buffer.from([0, 0, 0, 0, 0, 2, 0, 2]),
    u32(1),
    Buffer.from([0x0b, 0, 32, 0, 0]),
  ])
  const head = Buffer.concat([u32(0), u32(3), Buffer.alloc(20), u32(specId.length), specId])
  const rest = events.map(({ pcr, type, digest, data }) =>
    Buffer.concat([
      u32(pcr),
      u32(type),
      u32(1),
      Buffer.from([0x0b, 0]),
      Buffer.from(digest, 'hex'),
      u32(data.length),
      data,
    ]),
  )
  return Buffer.concat([head, ...rest])
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}
