import { ImageError } from '../errors.ts'
import type { ParentPath, ParentReference } from '../layer.ts'
import { type Fields, zeroGuid } from './fields.ts'

const vhdxLocator = 'b04aefb7-d19e-4a81-b789-25b8e9445913'
const guidForm = /^\{([0-9a-f-]{36})\}$/u
const pathKeys = [
  ['relative_path', 'relative'],
  ['absolute_win32_path', 'absolute'],
  ['volume_path', 'volume'],
] as const satisfies readonly (readonly [string, ParentPath['kind']])[]

/**
 * Spec: [MS-VHDX] 2.6.2.6: locator type guid | reserved u16 | entries u16 | entries: key offset u32 | value offset u32 |
 * key length u16 | value length u16. Keys and values are UTF-16LE. The DataWriteGuid of the parent is `parent_linkage` or
 * `parent_linkage2`.
 *
 * @param locator at least 20 bytes, at most 1 MiB, untrusted
 * @throws {ImageError} IMAGE_BAD_STRUCTURE, IMAGE_UNSUPPORTED_VERSION
 */
export function decodeParentLocator(locator: Fields): ParentReference {
  if (locator.guid(0) !== vhdxLocator) {
    throw new ImageError(
      'IMAGE_UNSUPPORTED_VERSION',
      `expected a VHDX parent locator, got ${locator.guid(0)}`,
    )
  }
  const pairs = decodePairs(locator)
  const identities = ['parent_linkage', 'parent_linkage2']
    .map((key) => guidForm.exec((pairs.get(key) ?? '').toLowerCase())?.[1])
    .filter((guid) => guid !== undefined && guid !== zeroGuid)
    .map(String)
  if (identities.length === 0) {
    throw new ImageError('IMAGE_BAD_STRUCTURE', 'expected the identity of the parent disk, found none')
  }
  const paths = pathKeys.flatMap(([key, kind]): ParentPath[] => {
    const path = pairs.get(key)
    return path === undefined ? [] : [{ kind, path }]
  })
  return { format: 'vhdx', identities, modifiedSeconds: undefined, paths }
}

function decodePairs(locator: Fields): ReadonlyMap<string, string> {
  const count = locator.u16(18)
  const pairs = new Map<string, string>()
  if (20 + count * 12 > locator.bytes.length) {
    throw new ImageError(
      'IMAGE_BAD_STRUCTURE',
      `expected a parent locator of ${count} entries, but it is shorter`,
    )
  }
  for (let at = 20; at < 20 + count * 12; at += 12) {
    const key = decodeText(locator.bytes, locator.u32(at), locator.u16(at + 8))
    pairs.set(key, decodeText(locator.bytes, locator.u32(at + 4), locator.u16(at + 10)))
  }
  return pairs
}

function decodeText(bytes: Uint8Array, at: number, length: number): string {
  if (at + length > bytes.length) {
    throw new ImageError(
      'IMAGE_BAD_STRUCTURE',
      `expected text in ${bytes.length} bytes, got ${length} at ${at}`,
    )
  }
  return new TextDecoder('utf-16le').decode(bytes.subarray(at, at + length))
}
