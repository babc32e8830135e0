import { ImageError } from './errors.ts'

export type GuidOrder =
  /** As written: VHD unique ids (RFC 9562). */
  | 'big-endian'
  /** The first three groups are little-endian numbers: VHDX and everything else of Windows. */
  | 'windows'

const textForm = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/u
const windowsPlaces = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15] as const

/** @returns lower-case text with hyphens */
export function decodeGuid(bytes: Uint8Array, order: GuidOrder): string {
  const hex = Buffer.from(
    order === 'windows' ? windowsPlaces.map((place) => bytes[place] ?? 0) : bytes,
  ).toString('hex')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join(
    '-',
  )
}

/** @throws {ImageError} IMAGE_BAD_STRUCTURE unless it is lower-case text with hyphens */
export function encodeGuid(text: string, order: GuidOrder): Uint8Array {
  if (!textForm.test(text))
    throw new ImageError('IMAGE_BAD_STRUCTURE', `expected a GUID, got ${text.slice(0, 40)}`)
  const bytes = Uint8Array.from(Buffer.from(text.replaceAll('-', ''), 'hex'))
  return order === 'windows' ? Uint8Array.from(windowsPlaces, (place) => bytes[place] ?? 0) : bytes
}
