import { type ByteSource, requireRange } from '#core/block/block-device.ts'

/** Bytes that stand in for those of a file; zeros where `bytes` is undefined. */
export interface Patch {
  readonly start: number
  readonly end: number
  readonly bytes: Uint8Array | undefined
}

/** Patches in order of place, none over another. */
export class PatchList {
  readonly #patches: Patch[] = []

  /** Where the last patch ends. */
  get end(): number {
    return this.#patches.at(-1)?.end ?? 0
  }

  /** The new patch wins over what is there. */
  add(patch: Patch): void {
    const first = this.#firstEndingAfter(patch.start)
    let last = first
    const kept: Patch[] = []
    for (
      let old = this.#patches[last];
      old !== undefined && old.start < patch.end;
      old = this.#patches[last]
    ) {
      if (old.start < patch.start) kept.push(part(old, old.start, patch.start))
      if (old.end > patch.end) kept.push(part(old, patch.end, old.end))
      last += 1
    }
    const place = kept.findIndex(({ start }) => start > patch.start)
    kept.splice(place < 0 ? kept.length : place, 0, patch)
    this.#patches.splice(first, last - first, ...kept)
  }

  /** Those that have a part of the range, in order. */
  within(start: number, end: number): readonly Patch[] {
    const found: Patch[] = []
    for (let index = this.#firstEndingAfter(start); ; index++) {
      const patch = this.#patches[index]
      if (patch === undefined || patch.start >= end) return found
      found.push(patch)
    }
  }

  #firstEndingAfter(place: number): number {
    let low = 0
    let high = this.#patches.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#patches[middle]?.end ?? 0) > place) high = middle
      else low = middle + 1
    }
    return low
  }
}

/** A file as it is with patches, perhaps longer than it is: what is added reads as zeros. Owns the file. */
export function patchedSource(source: ByteSource, patches: PatchList, sizeBytes: bigint): ByteSource {
  return {
    sizeBytes,
    read: async (offset, length, signal) => {
      requireRange(sizeBytes, offset, length)
      const [start, end] = [Number(offset), Number(offset) + length]
      const found = patches.within(start, end)
      const stored = Math.max(0, Math.min(length, Number(source.sizeBytes) - start))
      if (found.length === 0 && stored === length && length > 0) return source.read(offset, length, signal)
      const whole = new Uint8Array(length)
      if (stored > 0) whole.set(await source.read(offset, stored, signal))
      for (const patch of found) {
        const { bytes, ...place } = part(patch, Math.max(start, patch.start), Math.min(end, patch.end))
        if (bytes === undefined) whole.fill(0, place.start - start, place.end - start)
        else whole.set(bytes, place.start - start)
      }
      return whole
    },
    [Symbol.asyncDispose]: async () => source[Symbol.asyncDispose](),
  }
}

function part(patch: Patch, start: number, end: number): Patch {
  return { start, end, bytes: patch.bytes?.subarray(start - patch.start, end - patch.start) }
}
