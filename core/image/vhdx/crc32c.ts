const polynomial = 0x82f6_3b78

const table: Uint32Array = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte
  for (let bit = 0; bit < 8; bit++) remainder = (remainder & 1 ? polynomial : 0) ^ (remainder >>> 1)
  return remainder >>> 0
})

/**
 * CRC-32C of bytes in which the four at `checksumAt`, where the checksum itself is, count as zeros.
 *
 * Source: RFC 3720 section 12.1 (Castagnoli); [MS-VHDX] 2.2.2
 */
export function crc32cOf(structure: Uint8Array, checksumAt?: number): number {
  let crc = 0xffff_ffff
  const skipped = checksumAt ?? structure.length
  for (let index = 0; index < structure.length; index++) {
    const byte = index >= skipped && index < skipped + 4 ? 0 : (structure[index] ?? 0)
    crc = (table[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8)
  }
  return ~crc >>> 0
}
