import type { BlockDevice, ByteSource } from '#core/block/block-device.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { ImageError } from './errors.ts'
import type { FoundParent, Layer, OpenOptions, ParentReference } from './layer.ts'
import { layeredDevice } from './layered-device.ts'

/** Beyond the longest chains that hypervisors allow or advise (VMware 32, Microsoft warns from 50). */
export const maximumChainLength = 64

/** One file of a chain, opened. */
export interface OpenedLayer {
  readonly layer: Layer
  /** What children call it. */
  readonly identity: string
  readonly parent: ParentReference | undefined
}

type OpenLayer = (source: ByteSource, signal?: AbortSignal) => Promise<OpenedLayer>

/**
 * Opens a disk and all its ancestors.
 *
 * @param source owned by the device; disposed of when opening fails
 * @throws {ImageError} IMAGE_PARENT_MISSING, IMAGE_PARENT_MISMATCH, IMAGE_CHAIN_CYCLIC, IMAGE_CHAIN_TOO_LONG and what
 *   `openLayer` throws
 */
export async function openChain(
  source: ByteSource,
  openLayer: OpenLayer,
  options: OpenOptions,
): Promise<BlockDevice> {
  await using opened = new AsyncDisposableStack()
  opened.use(source)
  const top = await openLayer(source, options.signal)
  const layers: [Layer, ...Layer[]] = [top.layer]
  const identities = new Set([top.identity])
  let { parent } = top
  while (parent !== undefined) {
    if (parent.identities.some((identity) => identities.has(identity))) {
      throw new ImageError('IMAGE_CHAIN_CYCLIC', `disk ${parent.identities.join(' or ')} is its own ancestor`)
    }
    if (layers.length === maximumChainLength) {
      throw new ImageError('IMAGE_CHAIN_TOO_LONG', `expected at most ${maximumChainLength} disks in a chain`)
    }
    const found = await findParent(parent, openLayer, options)
    opened.use(found.source)
    const ancestor = await openLayer(found.source, options.signal)
    requireIdentity(parent, ancestor.identity, found)
    layers.push(ancestor.layer)
    identities.add(ancestor.identity)
    parent = ancestor.parent
  }
  return layeredDevice(layers, opened.move())
}

async function findParent(
  parent: ParentReference,
  openLayer: OpenLayer,
  { resolveParent, signal }: OpenOptions,
): Promise<FoundParent> {
  const found = await resolveParent?.(parent, async (candidate) => {
    try {
      requireIdentity(parent, (await openLayer(candidate.source, signal)).identity, candidate)
      return true
    } catch (error) {
      if (isCoded(error)) return false
      throw error
    }
  })
  if (found !== undefined) return found
  const [hint] = parent.paths
  throw new ImageError(
    'IMAGE_PARENT_MISSING',
    `expected parent disk ${parent.identities.join(' or ')}${hint === undefined ? '' : `, once ${hint.path}`}`,
  )
}

function requireIdentity(parent: ParentReference, identity: string, found: FoundParent): void {
  const expected = parent.identities.join(' or ')
  if (!parent.identities.includes(identity)) {
    throw new ImageError('IMAGE_PARENT_MISMATCH', `expected parent disk ${expected}, got ${identity}`)
  }
  const { modifiedSeconds } = found
  if (modifiedSeconds === undefined || parent.modifiedSeconds === undefined) return
  if (Math.floor(modifiedSeconds) !== parent.modifiedSeconds) {
    throw new ImageError(
      'IMAGE_PARENT_MISMATCH',
      `expected parent disk ${expected} as changed at ${parent.modifiedSeconds} s, got ${modifiedSeconds} s`,
      {
        // Its identity stays when a VHD is written to: nothing but its time says that a child does not fit any more.
        remedy: `Use the parent as it was when the child was made. If its file was only copied, give it its time back: touch -d @${parent.modifiedSeconds} FILE.`,
      },
    )
  }
}
