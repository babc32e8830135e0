export interface Geometry {
  readonly cylinders: number
  readonly heads: number
  readonly sectorsPerTrack: number
}

const mostSectors = 65535 * 16 * 255

/**
 * The geometry that a footer must carry: the nearest one that is not larger than the disk. Readers go by the size.
 *
 * Spec: Virtual Hard Disk Image Format 1.0, "Appendix: CHS Calculation"
 */
export function geometryOf(sizeBytes: number): Geometry {
  const sectors = Math.min(sizeBytes / 512, mostSectors)
  if (sectors >= 65535 * 16 * 63) return geometry(sectors, 255, 16)
  const tracks = Math.floor(sectors / 17)
  const heads = Math.max(4, Math.floor((tracks + 1023) / 1024))
  if (tracks < heads * 1024 && heads <= 16) return geometry(sectors, 17, heads)
  return geometry(sectors, Math.floor(sectors / 31) < 16 * 1024 ? 31 : 63, 16)
}

function geometry(sectors: number, sectorsPerTrack: number, heads: number): Geometry {
  return { cylinders: Math.floor(Math.floor(sectors / sectorsPerTrack) / heads), heads, sectorsPerTrack }
}
