/**
 * One's complement of the sum of all bytes, those of the checksum itself left out.
 *
 * Spec: Virtual Hard Disk Image Format 1.0, "Hard Disk Footer Format", Checksum
 */
export function checksumOf(structure: Uint8Array, checksumAt: number): number {
  let sum = 0
  for (const [index, byte] of structure.entries()) {
    if (index < checksumAt || index >= checksumAt + 4) sum += byte
  }
  return ~sum >>> 0
}
