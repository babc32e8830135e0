import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type BlockDevice, type Extent, requireRange } from './block-device.ts'

/** What an implementation fills in to be held to the contract. */
export interface BlockDeviceCase {
  readonly name: string
  /**
   * A new device of 16 KiB to 4 MiB and what it holds, which should be holes in part. Called once for each test and each
   * run of a property.
   */
  readonly make: () => Promise<{ device: BlockDevice; content: Uint8Array }>
  /** From here on the device is read-only even if it can be written. */
  readonly readOnlyFrom?: number
  /** How often properties run; fewer for devices that are slow to make. */
  readonly runs?: number
}

/** Holds a device to what `BlockDevice` promises. Writing is looked at when the device has `write`. */
export function blockDeviceContract(subject: BlockDeviceCase): void {
  describe(`${subject.name} keeps what a block device promises`, () => {
    readingTests(subject)
    writingTests(subject)
  })
}

function readingTests({ make, runs = 30 }: BlockDeviceCase): void {
  test('reads any range, whatever the borders of its blocks', async () => {
    const { device, content } = await make()
    await using _ = device
    expect(device.sizeBytes).toBe(BigInt(content.length))
    expect(Math.log2(device.blockSize) % 1).toBe(0)
    expect(same(await device.read(0n, content.length), content)).toBe(true)
    await fc.assert(
      fc.asyncProperty(rangeIn(content.length), async ({ offset, length }) => {
        const bytes = await device.read(BigInt(offset), length)
        expect(same(bytes, content.subarray(offset, offset + length))).toBe(true)
      }),
      { numRuns: 3 * runs },
    )
  })

  test('what can be had at once is what a read gives', async () => {
    const { device, content } = await make()
    await using _ = device
    await device.read(0n, content.length)
    fc.assert(
      fc.property(rangeIn(content.length), ({ offset, length }) => {
        const bytes = device.readNow?.(offset, length)
        if (bytes !== undefined) expect(same(bytes, content.subarray(offset, offset + length))).toBe(true)
      }),
      { numRuns: 3 * runs },
    )
    for (const [offset, length] of outside(device.sizeBytes).filter(([, length]) => length >= 0))
      expect(device.readNow?.(Number(offset), length)).toBeUndefined()
    await device[Symbol.asyncDispose]()
    expect(device.readNow?.(0, 1)).toBeUndefined()
  })

  test('a range of no bytes is one, up to the very end', async () => {
    const { device } = await make()
    await using _ = device
    for (const offset of [0n, 1n, device.sizeBytes]) {
      expect(await device.read(offset, 0)).toHaveLength(0)
      expect(await device.extents(offset, 0)).toEqual([])
    }
  })

  test('a range beyond the end is refused', async () => {
    const { device } = await make()
    await using _ = device
    const refused = { code: 'BLOCK_OUT_OF_RANGE' }
    for (const [offset, length] of outside(device.sizeBytes)) {
      await expect(device.read(offset, length)).rejects.toMatchObject(refused)
      await expect(device.extents(offset, length)).rejects.toMatchObject(refused)
    }
  })

  test('extents add up, differ from their neighbours and are zeros where they say so', async () => {
    const { device, content } = await make()
    await using _ = device
    requireExtents(await device.extents(0n, content.length), content)
    await fc.assert(
      fc.asyncProperty(rangeIn(content.length), async ({ offset, length }) => {
        requireExtents(
          await device.extents(BigInt(offset), length),
          content.subarray(offset, offset + length),
        )
      }),
      { numRuns: 3 * runs },
    )
  })

  test('many reads at once each find their own', async () => {
    const { device, content } = await make()
    await using _ = device
    const offsets = Array.from({ length: 64 }, (_, index) => Math.floor((index * 7919) % content.length))
    const reads = offsets.map((offset) =>
      device.read(BigInt(offset), Math.min(9000, content.length - offset)),
    )
    for (const [index, bytes] of (await Promise.all(reads)).entries()) {
      const offset = offsets[index] ?? 0
      expect(same(bytes, content.subarray(offset, offset + bytes.length))).toBe(true)
    }
  })

  test('a read that was given up fails with the reason, and the next one is whole', async () => {
    const { device, content } = await make()
    await using _ = device
    const signal = AbortSignal.abort(new Error('given up'))
    const outcome = await device.read(0n, content.length, signal).catch((error: unknown) => error)
    if (outcome instanceof Uint8Array) expect(same(outcome, content)).toBe(true)
    else expect(outcome).toMatchObject({ message: 'given up' })
    expect(same(await device.read(0n, content.length), content)).toBe(true)
  })

  test('disposing twice is harmless', async () => {
    const { device } = await make()
    await device[Symbol.asyncDispose]()
    await device[Symbol.asyncDispose]()
  })
}

function writingTests({ make, readOnlyFrom, runs = 30 }: BlockDeviceCase): void {
  test('one that can be written can do all of it, another none', async () => {
    const { device } = await make()
    await using _ = device
    const present = (['flush', 'trim', 'writeZeroes'] as const).map((name) => device[name] !== undefined)
    expect(new Set(present)).toEqual(new Set([device.write !== undefined]))
  })

  test('a write beyond the end does nothing', async () => {
    const { device, content } = await make()
    await using _ = device
    if (!device.write) return
    const refused = { code: 'BLOCK_OUT_OF_RANGE' }
    for (const [offset, length] of outside(device.sizeBytes).filter(([, length]) => length >= 0)) {
      const bytes = new Uint8Array(Math.min(length, 100_000)).fill(0xee)
      const fits = offset >= 0n && offset + BigInt(bytes.length) <= device.sizeBytes
      if (!fits) await expect(device.write(offset, bytes)).rejects.toMatchObject(refused)
      await expect(device.trim?.(offset, length)).rejects.toMatchObject(refused)
      await expect(device.writeZeroes?.(offset, length)).rejects.toMatchObject(refused)
    }
    expect(same(await device.read(0n, content.length), content)).toBe(true)
  })

  test('what was written is read, the caller has its memory back, and earlier results stay', async () => {
    const { device, content } = await make()
    await using _ = device
    if (!device.write) return
    const before = await device.read(4000n, 5000)
    const bytes = new Uint8Array(5000).fill(0xa5)
    await device.write(4000n, bytes)
    bytes.fill(0x11)
    const after = await device.read(4000n, 5000)
    await device.write(4000n, bytes)
    expect(same(before, content.subarray(4000, 9000))).toBe(true)
    expect(after.every((byte) => byte === 0xa5)).toBe(true)
    expect((await device.read(4000n, 5000)).every((byte) => byte === 0x11)).toBe(true)
    expect(same(await device.read(0n, 4000), content.subarray(0, 4000))).toBe(true)
  })

  test('writes at once to parts of one block lose nothing', async () => {
    const { device } = await make()
    await using _ = device
    if (!device.write) return
    const each = 13
    const parts = Array.from({ length: 1200 }, (_, index) => new Uint8Array(each).fill(1 + (index % 255)))
    await Promise.all(parts.map(async (bytes, index) => device.write?.(BigInt(100 + index * each), bytes)))
    await device.flush?.()
    const found = await device.read(100n, each * parts.length)
    expect(same(found, Uint8Array.from(parts.flatMap((bytes) => Array.from(bytes))))).toBe(true)
  })

  test('a read during writes of whole blocks sees old or new ones', async () => {
    const { device } = await make()
    await using _ = device
    if (!device.write) return
    await device.write(0n, new Uint8Array(16_384).fill(1))
    for (let value = 2; value < 12; value++) {
      const write = device.write(0n, new Uint8Array(16_384).fill(value))
      const reads = Array.from({ length: 8 }, () => device.read(0n, 16_384))
      for (const bytes of await Promise.all(reads)) {
        for (let at = 0; at < 16_384; at += 4096) {
          const block = bytes.subarray(at, at + 4096)
          expect([value - 1, value]).toContain(block[0])
          expect(block.every((byte) => byte === block[0])).toBe(true)
        }
      }
      await write
      expect((await device.read(0n, 16_384)).every((byte) => byte === value)).toBe(true)
    }
  })

  test('does to its bytes what the same operations do to plain memory', async () => {
    const { device: sample, content } = await make()
    const isWritable = sample.write !== undefined
    await sample[Symbol.asyncDispose]()
    if (!isWritable) return
    const range = rangeIn(readOnlyFrom ?? content.length)
    const value = fc.nat(255)
    const commands = [
      fc.tuple(range, value).map(([range, value]) => new Write(range, value)),
      fc.array(fc.tuple(range, value), { minLength: 2, maxLength: 6 }).map((each) => new WriteAtOnce(each)),
      range.map((range) => new WriteZeroes(range)),
      range.map((range) => new Trim(range)),
      rangeIn(content.length).map((range) => new Read(range)),
      fc.constant(new Flush()),
    ]
    await fc.assert(
      fc.asyncProperty(fc.commands(commands, { maxCommands: 30 }), async (commands) => {
        const { device, content } = await make()
        await using _ = device
        await fc.asyncModelRun(() => ({ model: { bytes: content.slice() }, real: device }), commands)
      }),
      { numRuns: runs },
    )
  })
}

interface Range {
  readonly offset: number
  readonly length: number
}

/** Ranges inside so many bytes: short, across borders of blocks, at the end, and long. */
function rangeIn(sizeBytes: number): fc.Arbitrary<Range> {
  const offset = fc.oneof(
    fc.nat(sizeBytes),
    fc.nat(Math.floor(sizeBytes / 4096)).map((block) => block * 4096),
    fc.nat(Math.min(sizeBytes, 9000)).map((back) => sizeBytes - back),
  )
  const length = fc.oneof(fc.nat(600), fc.nat(20_000), fc.constantFrom(4096, 8192, 65_536), fc.nat(sizeBytes))
  return fc
    .tuple(offset, length)
    .map(([offset, length]) => ({ offset, length: Math.min(length, sizeBytes - offset) }))
}

function outside(sizeBytes: bigint): readonly (readonly [bigint, number])[] {
  return [
    [sizeBytes, 1],
    [sizeBytes + 1n, 0],
    [-1n, 1],
    [sizeBytes - 1n, 2],
    [0n, Number(sizeBytes) + 1],
    [1n << 70n, 1],
    [0n, -1],
  ]
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

function requireExtents(extents: readonly Extent[], content: Uint8Array): void {
  let at = 0
  for (const [index, { kind, length }] of extents.entries()) {
    expect(length).toBeGreaterThan(0)
    expect(extents[index + 1]?.kind).not.toBe(kind)
    if (kind !== 'data') {
      expect(content.subarray(at, at + length).every((byte) => byte === 0)).toBe(true)
    }
    at += length
  }
  expect(at).toBe(content.length)
}

interface Model {
  readonly bytes: Uint8Array
}
type Command = fc.AsyncCommand<Model, BlockDevice>

/** Bytes that are not all alike, so that a shift shows. */
function patternOf({ offset, length }: Range, value: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => value + 3 * (offset + index) + ((offset + index) >> 8))
}

async function requireAll({ bytes }: Model, device: BlockDevice): Promise<void> {
  requireRange(device.sizeBytes, 0n, bytes.length)
  expect(same(await device.read(0n, bytes.length), bytes)).toBe(true)
  requireExtents(await device.extents(0n, bytes.length), bytes)
}

abstract class Step implements Command {
  check(): boolean {
    return true
  }
  abstract run(model: Model, real: BlockDevice): Promise<void>
  abstract toString(): string
}

class Write extends Step {
  readonly range: Range
  readonly value: number
  constructor(range: Range, value: number) {
    super()
    this.range = range
    this.value = value
  }
  async run(model: Model, real: BlockDevice): Promise<void> {
    const pattern = patternOf(this.range, this.value)
    await real.write?.(BigInt(this.range.offset), pattern)
    model.bytes.set(pattern, this.range.offset)
    await requireAll(model, real)
  }
  toString(): string {
    return `write ${this.range.length} at ${this.range.offset}`
  }
}

/** Where several write, any of them may have been the last one, byte for byte. */
class WriteAtOnce extends Step {
  readonly each: readonly (readonly [Range, number])[]
  constructor(each: readonly (readonly [Range, number])[]) {
    super()
    this.each = each
  }
  async run(model: Model, real: BlockDevice): Promise<void> {
    const patterns = this.each.map(([range, value]) => ({ range, pattern: patternOf(range, value) }))
    await Promise.all(patterns.map(async ({ range, pattern }) => real.write?.(BigInt(range.offset), pattern)))
    const found = await real.read(0n, model.bytes.length)
    const written = new Set<number>()
    for (const { range } of patterns) {
      for (let at = range.offset; at < range.offset + range.length; at++) written.add(at)
    }
    for (const at of written) {
      const is = patterns.some(
        ({ range, pattern }) =>
          at >= range.offset && at < range.offset + range.length && pattern[at - range.offset] === found[at],
      )
      if (!is) throw new Error(`byte ${at} is of none of the writes`)
      model.bytes[at] = found[at] ?? 0
    }
    await requireAll(model, real)
  }
  toString(): string {
    return `at once: ${this.each.map(([{ offset, length }]) => `${length} at ${offset}`).join(', ')}`
  }
}

class WriteZeroes extends Step {
  readonly range: Range
  constructor(range: Range) {
    super()
    this.range = range
  }
  async run(model: Model, real: BlockDevice): Promise<void> {
    const { offset, length } = this.range
    await real.writeZeroes?.(BigInt(offset), length)
    model.bytes.fill(0, offset, offset + length)
    await requireAll(model, real)
  }
  toString(): string {
    return `zeros ${this.range.length} at ${this.range.offset}`
  }
}

/** Afterwards each byte is the old one or zero, and stays so. */
class Trim extends Step {
  readonly range: Range
  constructor(range: Range) {
    super()
    this.range = range
  }
  async run(model: Model, real: BlockDevice): Promise<void> {
    const { offset, length } = this.range
    await real.trim?.(BigInt(offset), length)
    const found = await real.read(BigInt(offset), length)
    for (let index = 0; index < length; index++) {
      if (found[index] === 0) model.bytes[offset + index] = 0
    }
    await requireAll(model, real)
  }
  toString(): string {
    return `trim ${this.range.length} at ${this.range.offset}`
  }
}

class Read extends Step {
  readonly range: Range
  constructor(range: Range) {
    super()
    this.range = range
  }
  async run(model: Model, real: BlockDevice): Promise<void> {
    const { offset, length } = this.range
    const expected = model.bytes.subarray(offset, offset + length)
    const ready = real.readNow?.(offset, length)
    if (ready !== undefined) expect(same(ready, expected)).toBe(true)
    expect(same(await real.read(BigInt(offset), length), expected)).toBe(true)
  }
  toString(): string {
    return `read ${this.range.length} at ${this.range.offset}`
  }
}

class Flush extends Step {
  async run(model: Model, real: BlockDevice): Promise<void> {
    await real.flush?.()
    await requireAll(model, real)
  }
  toString(): string {
    return 'flush'
  }
}
