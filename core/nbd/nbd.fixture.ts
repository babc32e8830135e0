import { memoryDevice } from '#core/block/memory-device.fixture.ts'
import { Writer } from '#core/bytes/index.ts'
import type { NbdExport } from './nbd-export.ts'

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
