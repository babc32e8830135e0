import type { ByteSource } from '#core/block/block-device.ts'
import { ImageError } from '../errors.ts'
import type { ParentPath, ParentReference } from '../layer.ts'
import { readStructure } from '../structure.ts'
import type { HeaderParent, ParentLocator } from './dynamic-header.ts'

/** Seconds from 1970 to 2000, where VHD begins to count. */
export const vhdEpochSeconds = 946_684_800

/** As long as a path of Windows can be: 32,767 UTF-16 units. */
const mostPathBytes = 65_534
const kinds: Readonly<Record<string, ParentPath['kind']>> = { W2ru: 'relative', W2ku: 'absolute' }

/**
 * Reads what a differencing disk says about its parent. Locators of other platforms than Windows (`W2ru`, `W2ku`) are
 * left out.
 *
 * @throws {ImageError} IMAGE_TRUNCATED, IMAGE_TOO_LARGE
 */
export async function readParent(
  source: ByteSource,
  { uniqueId, modifiedSeconds, name, locators }: HeaderParent,
): Promise<ParentReference> {
  const paths: ParentPath[] = []
  for (const locator of locators) {
    const kind = kinds[locator.platform]
    if (kind !== undefined) paths.push({ kind, path: await readPath(source, locator) })
  }
  paths.sort((a, b) => Number(b.kind === 'relative') - Number(a.kind === 'relative'))
  if (name !== '') paths.push({ kind: 'name', path: name })
  return {
    format: 'vhd',
    identities: [uniqueId],
    modifiedSeconds: modifiedSeconds === 0 ? undefined : modifiedSeconds + vhdEpochSeconds,
    paths,
  }
}

/** Spec: Virtual Hard Disk Image Format 1.0, "Parent Locator": UTF-16, little-endian unlike everything else. */
async function readPath(source: ByteSource, { at, length }: ParentLocator): Promise<string> {
  if (length > mostPathBytes) {
    throw new ImageError('IMAGE_TOO_LARGE', `expected a parent path of ${mostPathBytes} bytes, got ${length}`)
  }
  const bytes = await readStructure(source, 'path of the parent', at, length)
  const [path] = new TextDecoder('utf-16le').decode(bytes).split('\0', 1)
  return path ?? ''
}
