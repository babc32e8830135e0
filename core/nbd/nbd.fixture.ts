import type { BlockDevice, Extent } from '#core/block/block-device.ts'
import { Writer } from '#core/bytes/index.ts'
import type { NbdExport } from './nbd-export.ts'

/** A disk in memory for tests, in blocks of 4 KiB: those of zeros only are holes. */
export function memoryDevice(memory: Uint8Array, writable = true): BlockDevice {
  const view = (offset: bigint, length: number): Uint8Array =>
    memory.subarray(Number(offset), Number(offset) + length)
  const device = {
    sizeBytes: BigInt(memory.length),
    blockSize: 4096,
    read: async (offset: bigint, length: number) => view(offset, length).slice(),
    extents: async (offset: bigint, length: number) => extentsOf(view(offset, length)),
    [Symbol.asyncDispose]: async () => {},
  }
  if (!writable) return device
  return {
    ...device,
    write: async (offset, bytes) => view(offset, bytes.length).set(bytes),
    flush: async () => {},
    trim: async (offset, length) => void view(offset, length).fill(0),
    writeZeroes: async (offset, length) => void view(offset, length).fill(0),
  }
}

/** The disk `first`, 64 KiB that can be written, and `second`, 4 KiB that cannot. */
export function twoExports(): readonly [NbdExport, NbdExport] {
  return [
    { name: 'first', description: 'a disk', device: memoryDevice(new Uint8Array(65_536)) },
    { name: 'second', device: memoryDevice(new Uint8Array(4096), false) },
  ]
}

/** Hexadecimal digits without the spaces that show the fields. */
export function wire(digits: string): string {
  return digits.replaceAll(' ', '')
}

/** An option as a client sends it. */
export function option(type: number, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  return new Writer(100_000).u64(0x49484156454f5054n).u32(type).u32(data.length).bytes(data).finish()
}

/** The data of NBD_OPT_INFO and NBD_OPT_GO. */
export function infoRequest(name: string, ...infos: readonly number[]): Uint8Array {
  const writer = new Writer(10_000).u32(name.length).utf8(name).u16(infos.length)
  for (const info of infos) writer.u16(info)
  return writer.finish()
}

/** The data of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT. */
export function contextRequest(name: string, ...queries: readonly string[]): Uint8Array {
  const writer = new Writer(10_000).u32(name.length).utf8(name).u32(queries.length)
  for (const query of queries) writer.u32(query.length).utf8(query)
  return writer.finish()
}

/** A request as a client sends it, with a payload behind it. */
export function request(
  type: number,
  fields: { flags?: number; cookie?: bigint; offset?: bigint; length?: number; payload?: Uint8Array } = {},
): Uint8Array {
  const { flags = 0, cookie = 1n, offset = 0n, payload = new Uint8Array(0) } = fields
  return new Writer(28 + payload.length)
    .u32(0x25609513)
    .u16(flags)
    .u16(type)
    .u64(cookie)
    .u64(offset)
    .u32(fields.length ?? payload.length)
    .bytes(payload)
    .finish()
}

function extentsOf(bytes: Uint8Array): Extent[] {
  const extents: Extent[] = []
  for (let at = 0; at < bytes.length; at += 4096) {
    const block = bytes.subarray(at, at + 4096)
    const kind = block.every((byte) => byte === 0) ? 'hole' : 'data'
    const last = extents.at(-1)
    if (last?.kind === kind) extents[extents.length - 1] = { kind, length: last.length + block.length }
    else extents.push({ kind, length: block.length })
  }
  return extents
}
