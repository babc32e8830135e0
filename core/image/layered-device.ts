import { type BlockDevice, type ByteSource, type Extent, requireRange } from '#core/block/block-device.ts'
import { giveBack } from '#core/bytes/give-back.ts'
import type { Layer, Segment } from './layer.ts'

/**
 * A read-only disk made of layers, the child first. What no layer has is a hole.
 *
 * @param resources disposed of with the device
 */
export function layeredDevice(layers: readonly [Layer, ...Layer[]], resources: AsyncDisposable): BlockDevice {
  const [top] = layers
  const sizeBytes = BigInt(top.sizeBytes)

  /** Who is told when what was read is not needed any more. */
  const givers = new WeakMap<Uint8Array, Pick<ByteSource, 'done'>>()

  const segments = async (offset: bigint, length: number, signal?: AbortSignal): Promise<Segment[]> => {
    requireRange(sizeBytes, offset, length)
    const found: Segment[] = []
    await collect(layers, 0, { offset: Number(offset), length }, found, signal)
    return found
  }

  return {
    sizeBytes,
    blockSize: top.blockSize,
    read: async (offset, length, signal) => {
      const { bytes, from } = await assemble(await segments(offset, length, signal), length, signal)
      givers.set(bytes, from)
      return bytes
    },
    done: (bytes) => {
      const from = givers.get(bytes)
      givers.delete(bytes)
      from?.done?.(bytes)
    },
    extents: async (offset, length, signal) => merged(await segments(offset, length, signal)),
    [Symbol.asyncDispose]: async () => resources[Symbol.asyncDispose](),
  }
}

interface Range {
  readonly offset: number
  readonly length: number
}

/** Depth is the number of layers, which is bounded where the chain is opened. */
async function collect(
  layers: readonly Layer[],
  depth: number,
  { offset, length }: Range,
  found: Segment[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const layer = layers[depth]
  // A child may be larger than its parent.
  const inside = layer === undefined ? 0 : Math.max(0, Math.min(length, layer.sizeBytes - offset))
  let at = offset
  for (const segment of inside === 0 ? [] : ((await layer?.map(offset, inside, signal)) ?? [])) {
    if (segment.kind === 'parent') {
      await collect(layers, depth + 1, { offset: at, length: segment.length }, found, signal)
    } else {
      append(found, segment)
    }
    at += segment.length
  }
  if (inside < length) append(found, { kind: 'hole', length: length - inside })
}

/** Joins what lies side by side, so that it is read at once. */
function append(found: Segment[], next: Segment): void {
  const last = found.at(-1)
  const joined = last === undefined ? undefined : join(last, next)
  if (joined === undefined) found.push(next)
  else found[found.length - 1] = joined
}

function join(a: Segment, b: Segment): Segment | undefined {
  if (a.kind !== 'data' || b.kind !== 'data') {
    return a.kind === b.kind ? { ...a, length: a.length + b.length } : undefined
  }
  return a.source === b.source && a.at + a.length === b.at ? { ...a, length: a.length + b.length } : undefined
}

async function assemble(
  segments: readonly Segment[],
  length: number,
  signal: AbortSignal | undefined,
): Promise<{ readonly bytes: Uint8Array; readonly from: Pick<ByteSource, 'done'> }> {
  const [only] = segments
  if (segments.length === 1 && only?.kind === 'data') {
    return { bytes: await only.source.read(BigInt(only.at), length, signal), from: only.source }
  }
  const bytes = new Uint8Array(length)
  let offset = 0
  for (const segment of segments) {
    if (segment.kind === 'data') {
      const part = await segment.source.read(BigInt(segment.at), segment.length, signal)
      bytes.set(part, offset)
      segment.source.done?.(part)
    }
    offset += segment.length
  }
  return { bytes, from: { done: giveBack } }
}

function merged(segments: readonly Segment[]): readonly Extent[] {
  const extents: { length: number; kind: Extent['kind'] }[] = []
  for (const { kind, length } of segments) {
    const last = extents.at(-1)
    if (kind === 'parent') continue
    if (last?.kind === kind) last.length += length
    else extents.push({ kind, length })
  }
  return extents
}
