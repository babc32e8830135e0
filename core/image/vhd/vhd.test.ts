import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { BlockDevice } from '#core/block/block-device.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { ImageError } from '../errors.ts'
import type { FoundParent, ParentReference } from '../layer.ts'
import { memorySink, memorySource, sparseSource } from '../memory.fixture.ts'
import { openRaw } from '../raw.ts'
import { BlockClaims } from './block-claims.ts'
import { decodeDynamicHeader, encodeDynamicHeader } from './dynamic-header.ts'
import { decodeFooter, encodeFooter, type Footer, maximumVhdBytes, withChecksum } from './footer.ts'
import { geometryOf } from './geometry.ts'
import { openVhd } from './open.ts'
import { buildVhd } from './vhd.fixture.ts'
import { writeDynamicVhd, writeFixedVhd } from './write.ts'

const id = (digit: number): string => `00000000-0000-4000-8000-${digit.toString(16).padStart(12, '0')}`
const identity = { uniqueId: id(0xabc), createdSeconds: 700_000_000 }

async function codeOf(run: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await run()
    return undefined
  } catch (error) {
    if (!isCoded(error)) throw error
    // Whoever named a bad file is told what to do about it.
    if (error instanceof ImageError) expect(error.remedy, error.code).toMatch(/\.$/u)
    return error.code
  }
}

async function readAll(device: BlockDevice): Promise<Uint8Array> {
  return device.read(0n, Number(device.sizeBytes))
}

/** What the sectors of one chain, the child first, look like from outside. */
function expectedBytes(sizeBytes: number, ...chain: ReadonlyMap<number, number>[]): Uint8Array {
  const bytes = new Uint8Array(sizeBytes)
  for (const sectors of chain.toReversed()) {
    for (const [sector, value] of sectors) bytes.fill(value, sector * 512, (sector + 1) * 512)
  }
  return bytes
}

const guids = fc.uuid()
const u32 = fc.nat(0xffff_ffff)
const footers: fc.Arbitrary<Footer> = fc.record({
  diskType: fc.constantFrom('fixed', 'dynamic', 'differencing'),
  sizeBytes: fc.nat(maximumVhdBytes / 512).map((sectors) => sectors * 512),
  headerAt: fc.bigInt(0n, (1n << 64n) - 1n),
  uniqueId: guids,
  createdSeconds: u32,
})

test('footers and dynamic headers decode to what was encoded', () => {
  fc.assert(
    fc.property(footers, (footer) => {
      expect(decodeFooter(encodeFooter(footer))).toEqual(footer)
    }),
  )
  const header = fc.record({
    tableAt: fc.bigInt(0n, (1n << 64n) - 1n),
    tableEntries: u32,
    blockBytes: fc.integer({ min: 12, max: 28 }).map((power) => 2 ** power),
    parent: fc.record({
      uniqueId: guids,
      modifiedSeconds: u32,
      name: fc.string({ maxLength: 100 }).map((name) => name.replaceAll('\0', '')),
      locators: fc.array(
        fc.record({
          platform: fc.constantFrom('W2ru', 'W2ku', 'MacX'),
          at: fc.bigInt(0n, 1n << 40n),
          length: fc.integer({ min: 1, max: 65_536 }),
        }),
        { maxLength: 8 },
      ),
    }),
  })
  fc.assert(
    fc.property(header, (value) => {
      expect(decodeDynamicHeader(encodeDynamicHeader(value))).toEqual(value)
    }),
  )
})

function geometryOfSectors(count: number): number[] {
  const { cylinders, heads, sectorsPerTrack } = geometryOf(count * 512)
  return [cylinders, heads, sectorsPerTrack]
}

test('the geometry follows the specification at its borders', () => {
  expect(geometryOfSectors(204_800)).toEqual([1003, 12, 17]) // 100 MiB
  expect(geometryOfSectors(0)).toEqual([0, 4, 17])
  expect(geometryOfSectors(17 * 1024 * 16)).toEqual([561, 16, 31])
  expect(geometryOfSectors(31 * 1024 * 16)).toEqual([503, 16, 63])
  expect(geometryOfSectors(65_535 * 16 * 63)).toEqual([16_191, 16, 255])
  expect(geometryOfSectors(2 ** 32)).toEqual([65_535, 16, 255])
})

test('a dynamic disk reads as what was written to it; the rest is holes and zeros', async () => {
  const sectors = new Map([
    [0, 1],
    [7, 2],
    [8 * 3 + 1, 3],
    [8 * 3 + 2, 4],
  ])
  const sizeBytes = 4096 * 5 + 512
  const file = buildVhd({ uniqueId: id(1), sizeBytes, blockBytes: 4096, sectors })
  const source = memorySource(file)
  {
    await using disk = await openVhd(source)
    expect(disk.sizeBytes).toBe(BigInt(sizeBytes))
    expect(await readAll(disk)).toEqual(expectedBytes(sizeBytes, sectors))
    expect(await disk.extents(0n, sizeBytes)).toEqual([
      { kind: 'data', length: 512 },
      { kind: 'zero', length: 3072 },
      { kind: 'data', length: 512 },
      { kind: 'hole', length: 8192 },
      { kind: 'zero', length: 512 },
      { kind: 'data', length: 1024 },
      { kind: 'zero', length: 2560 },
      { kind: 'hole', length: 4096 + 512 },
    ])
    expect((await disk.read(12_288n + 512n, 1024)).buffer).toBe(file.buffer)
    expect(await codeOf(() => disk.read(BigInt(sizeBytes) - 1n, 2))).toBe('BLOCK_OUT_OF_RANGE')
    expect(await codeOf(() => disk.extents(-1n, 2))).toBe('BLOCK_OUT_OF_RANGE')
  }
  expect(source.isDisposed()).toBe(true)
})

test('the copy of the footer counts when the end was lost, but only for disks that grow', async () => {
  const sectors = new Map([[0, 1]])
  const file = buildVhd({ uniqueId: id(1), sizeBytes: 4096, blockBytes: 4096, sectors })
  await using disk = await openVhd(memorySource(file.subarray(0, -512)))
  expect(await readAll(disk)).toEqual(expectedBytes(4096, sectors))
  const fixed = encodeFooter({ ...identity, diskType: 'fixed', sizeBytes: 0, headerAt: 0n })
  const noFooter = memorySource(Uint8Array.from([...fixed, ...new Uint8Array(512)]))
  expect(await codeOf(() => openVhd(noFooter))).toBe('IMAGE_BAD_STRUCTURE')
})

const sectorMaps = fc
  .array(fc.tuple(fc.nat(39), fc.integer({ min: 1, max: 255 })), { maxLength: 20 })
  .map((pairs) => new Map(pairs))

test('any chain of differencing disks reads like its sectors laid over each other, at any offset', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(sectorMaps, { minLength: 1, maxLength: 5 }),
      fc.nat(40 * 512),
      fc.nat(40 * 512),
      async (chain, a, b) => {
        const [start, end] = [Math.min(a, b), Math.max(a, b)]
        const files = chain.map((sectors, index) =>
          buildVhd({
            uniqueId: id(index),
            sizeBytes: 40 * 512,
            blockBytes: 4096 * 2 ** (index % 2),
            sectors,
            ...(index + 1 < chain.length ? { parent: { uniqueId: id(index + 1) } } : {}),
          }),
        )
        const sources = files.map(memorySource)
        {
          await using disk = await openVhd(sources[0]!, {
            resolveParent: async ({ identities: [wanted] }) => {
              const index = chain.findIndex((_, level) => id(level) === wanted)
              return { source: sources[index]! }
            },
          })
          expect(await disk.read(BigInt(start), end - start)).toEqual(
            expectedBytes(40 * 512, ...chain).subarray(start, end),
          )
          const extents = await disk.extents(BigInt(start), end - start)
          expect(extents.reduce((sum, { length }) => sum + length, 0)).toBe(end - start)
        }
        expect(sources.every((source) => source.isDisposed())).toBe(true)
      },
    ),
    { numRuns: 60 },
  )
})

const child = (
  parent: number,
  more: Partial<Parameters<typeof buildVhd>[0]['parent'] & object> = {},
): Uint8Array =>
  buildVhd({
    uniqueId: id(1),
    sizeBytes: 8192,
    blockBytes: 4096,
    sectors: new Map([[1, 9]]),
    parent: { uniqueId: id(parent), ...more },
  })
const base = (uniqueId: string, sizeBytes = 8192): Uint8Array =>
  buildVhd({ uniqueId, sizeBytes, blockBytes: 4096, sectors: new Map([[0, 5]]) })

async function openChild(
  file: Uint8Array,
  found: Partial<FoundParent> & { file?: Uint8Array },
): Promise<BlockDevice> {
  return openVhd(memorySource(file), {
    resolveParent: async () =>
      found.file === undefined ? undefined : { ...found, source: memorySource(found.file) },
  })
}

test('a parent is asked for by identity, time and every path that the child knows', async () => {
  const asked: ParentReference[] = []
  const file = child(2, {
    modifiedSeconds: 10,
    name: 'bäse.vhd',
    paths: [
      { platform: 'W2ku', path: 'C:\\disks\\bäse.vhd' },
      { platform: 'MacX', path: 'file:///base.vhd' },
      { platform: 'W2ru', path: '.\\bäse.vhd' },
    ],
  })
  const opening = openVhd(memorySource(file), {
    resolveParent: async (reference) => {
      asked.push(reference)
      return undefined
    },
  })
  expect(await codeOf(() => opening)).toBe('IMAGE_PARENT_MISSING')
  expect(asked).toEqual([
    {
      format: 'vhd',
      identities: [id(2)],
      modifiedSeconds: 946_684_810,
      paths: [
        { kind: 'relative', path: '.\\bäse.vhd' },
        { kind: 'absolute', path: 'C:\\disks\\bäse.vhd' },
        { kind: 'name', path: 'bäse.vhd' },
      ],
    },
  ])
})

test('a missing, foreign or changed parent is refused, and whatever was opened is closed', async () => {
  expect(await codeOf(() => openVhd(memorySource(child(2))))).toBe('IMAGE_PARENT_MISSING')
  expect(await codeOf(() => openChild(child(2), { file: base(id(3)) }))).toBe('IMAGE_PARENT_MISMATCH')
  const timed = child(2, { modifiedSeconds: 10 })
  const changed = { file: base(id(2)), modifiedSeconds: 946_684_811 }
  expect(await codeOf(() => openChild(timed, changed))).toBe('IMAGE_PARENT_MISMATCH')
  await using disk = await openChild(timed, { ...changed, modifiedSeconds: 946_684_810.9 })
  expect((await disk.read(0n, 1))[0]).toBe(5)

  const sources = [memorySource(child(2)), memorySource(base(id(3)))] as const
  expect(
    await codeOf(() => openVhd(sources[0], { resolveParent: async () => ({ source: sources[1] }) })),
  ).toBe('IMAGE_PARENT_MISMATCH')
  expect(sources.map((source) => source.isDisposed())).toEqual([true, true])
})

test('a differencing disk with any changes in its structures, or cut, reads or fails with a code', async () => {
  const paths = ['W2ku', 'W2ru', 'MacX'].map((platform) => ({ platform, path: 'C:\\disks\\bäse.vhd' }))
  const whole = child(2, { modifiedSeconds: 10, name: 'bäse.vhd', paths })
  // Footer, header with its locators, table, bitmaps, and the texts that the locators name.
  const tableAt = 512 + 1024 + 1024 * paths.length
  const at = fc.oneof(
    fc.nat(511),
    fc.nat(1023).map((within) => 512 + within),
    fc.nat(3 * 24 - 1).map((within) => 512 + 576 + within),
    fc.nat(tableAt + 1024 - 1536).map((within) => 1536 + within),
    fc.nat(511).map((within) => whole.length - 512 + within),
  )
  const value = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 8 }),
    fc.constantFrom(new Uint8Array(8), new Uint8Array(8).fill(0xff), Uint8Array.of(0x7f, 0xff, 0xff, 0xff)),
  )
  const cut = fc.option(fc.nat(whole.length), { freq: 8 })
  const codes = new Set<string | undefined>()
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(at, value), { maxLength: 4 }),
      fc.boolean(),
      cut,
      async (changes, isSigned, end) => {
        const file = whole.slice()
        for (const [start, bytes] of changes) file.set(bytes.subarray(0, file.length - start), start)
        if (isSigned) resign(file)
        codes.add(
          await codeOf(async () => {
            await using disk = await openChild(file.slice(0, end ?? file.length), {
              file: base(id(2)),
              modifiedSeconds: 946_684_810,
            })
            const length = Math.min(Number(disk.sizeBytes), 1 << 20)
            await disk.extents(0n, length)
            await disk.read(0n, length)
          }),
        )
      },
    ),
    { numRuns: 400 },
  )
  expect([...codes]).toContain(undefined)
  expect([...codes]).toContain('IMAGE_BAD_CHECKSUM')
})

/** A change that its checksums hide, so that it comes as far as the fields. */
function resign(file: Uint8Array): void {
  const last = file.length - 512
  file.set(withChecksum(file.subarray(0, 512), 64))
  file.set(withChecksum(file.subarray(512, 1536), 36), 512)
  file.set(withChecksum(file.subarray(last), 64), last)
}

test('a child may be larger than its parent', async () => {
  await using disk = await openChild(child(2), { file: base(id(2), 512) })
  expect(await readAll(disk)).toEqual(expectedBytes(8192, new Map([[1, 9]]), new Map([[0, 5]])))
})

test('a disk that is its own ancestor and a chain without end are refused', async () => {
  expect(await codeOf(() => openChild(child(1), { file: child(1) }))).toBe('IMAGE_CHAIN_CYCLIC')
  const other = buildVhd({
    uniqueId: id(2),
    sizeBytes: 512,
    blockBytes: 4096,
    sectors: new Map(),
    parent: { uniqueId: id(1) },
  })
  expect(await codeOf(() => openChild(child(2), { file: other }))).toBe('IMAGE_CHAIN_CYCLIC')
  let level = 2
  const endless = openVhd(memorySource(child(2)), {
    resolveParent: async () => {
      const uniqueId = id(level)
      level += 1
      return {
        source: memorySource(
          buildVhd({
            uniqueId,
            sizeBytes: 512,
            blockBytes: 4096,
            sectors: new Map(),
            parent: { uniqueId: id(level) },
          }),
        ),
      }
    },
  })
  expect(await codeOf(() => endless)).toBe('IMAGE_CHAIN_TOO_LONG')
})

/** A dynamic disk of four blocks of 4 KiB whose table is at 1536 and whose blocks follow, with one change. */
function broken(change: (file: Uint8Array, view: DataView) => void): Uint8Array {
  const sectors = new Map([0, 8, 16, 24].map((sector) => [sector, 1] as const))
  const file = buildVhd({ uniqueId: id(1), sizeBytes: 16_384, blockBytes: 4096, sectors })
  change(file, new DataView(file.buffer))
  return file
}
const resigned = (file: Uint8Array, at: number, length: number, checksumAt: number): void =>
  file.set(withChecksum(file.subarray(at, at + length), checksumAt), at)
const headerField = (offset: number, value: number): Uint8Array =>
  broken((file, view) => {
    view.setUint32(512 + offset, value)
    resigned(file, 512, 1024, 36)
  })
const footerField = (offset: number, value: number): Uint8Array =>
  broken((file, view) => {
    view.setUint32(file.length - 512 + offset, value)
    resigned(file, file.length - 512, 512, 64)
  })
const tableEntry = (value: number): Uint8Array => broken((_, view) => view.setUint32(1536, value))

test.each([
  ['IMAGE_UNKNOWN_FORMAT', new Uint8Array(2048)],
  ['IMAGE_UNKNOWN_FORMAT', new Uint8Array(0)],
  ['IMAGE_BAD_CHECKSUM', broken((file) => file.fill(7, file.length - 400, file.length - 399))],
  ['IMAGE_BAD_CHECKSUM', broken((file) => file.fill(7, 1500, 1501))],
  ['IMAGE_UNSUPPORTED_VERSION', footerField(12, 0x0002_0000)],
  ['IMAGE_UNSUPPORTED_VERSION', headerField(24, 0x0002_0000)],
  ['IMAGE_BAD_STRUCTURE', footerField(60, 6)],
  ['IMAGE_BAD_STRUCTURE', footerField(52, 16_385)],
  ['IMAGE_TOO_LARGE', footerField(48, 0xffff)],
  ['IMAGE_TRUNCATED', footerField(20, 0x0100_0000)],
  ['IMAGE_BAD_STRUCTURE', footerField(20, 1024)],
  ['IMAGE_BLOCK_SIZE', headerField(32, 4096 + 512)],
  ['IMAGE_BLOCK_SIZE', headerField(32, 0)],
  ['IMAGE_BLOCK_SIZE', headerField(32, 2 ** 31)],
  ['IMAGE_BAD_STRUCTURE', headerField(28, 3)],
  ['IMAGE_TRUNCATED', headerField(16, 1)],
  ['IMAGE_BLOCK_OUTSIDE', tableEntry(0xffff_fffe)],
  ['IMAGE_BLOCK_OUTSIDE', tableEntry(4 + 9 * 3 + 2)],
  ['IMAGE_BLOCK_OVERLAP', tableEntry(0)],
  ['IMAGE_BLOCK_OVERLAP', tableEntry(3)],
  ['IMAGE_BLOCK_OVERLAP', tableEntry(4)],
  ['IMAGE_BLOCK_OVERLAP', tableEntry(4 + 9 * 3 - 1)],
])('a lying structure is refused: %s', async (code, file) => {
  const reading = async (): Promise<void> => {
    await using disk = await openVhd(memorySource(file))
    await readAll(disk)
  }
  expect(await codeOf(reading)).toBe(code)
})

test('more blocks than a disk of 2040 GiB needs are refused before anything is kept', async () => {
  const sizeBytes = maximumVhdBytes
  const footer = encodeFooter({ ...identity, diskType: 'dynamic', sizeBytes, headerAt: 512n })
  const parent = { uniqueId: id(0), modifiedSeconds: 0, name: '', locators: [] }
  const file = (blockBytes: number, fileBytes: bigint): ReturnType<typeof sparseSource> =>
    sparseSource(
      fileBytes,
      new Map([
        [0, footer],
        [512, encodeDynamicHeader({ tableAt: 1536n, tableEntries: 0xffff_ffff, blockBytes, parent })],
      ]),
    )
  expect(await codeOf(() => openVhd(file(4096, 1n << 50n)))).toBe('IMAGE_TOO_LARGE')
  expect(await codeOf(() => openVhd(file(2 << 20, 4096n)))).toBe('IMAGE_TRUNCATED')
})

test('every other sector of the largest block is found', async () => {
  const [blockBytes, bitmapAt] = [256 << 20, 4096]
  const footer = encodeFooter({ ...identity, diskType: 'dynamic', sizeBytes: blockBytes, headerAt: 512n })
  const parent = { uniqueId: id(0), modifiedSeconds: 0, name: '', locators: [] }
  const file = sparseSource(
    BigInt(bitmapAt + 65_536 + blockBytes),
    new Map([
      [0, footer],
      [512, encodeDynamicHeader({ tableAt: 1536n, tableEntries: 1, blockBytes, parent })],
      [1536, Uint8Array.of(0, 0, 0, bitmapAt / 512)],
      [bitmapAt, new Uint8Array(65_536).fill(0xaa)],
    ]),
  )
  await using disk = await openVhd(file)
  const extents = await disk.extents(0n, blockBytes)
  expect(extents).toHaveLength(blockBytes / 512)
  expect(extents.slice(0, 2)).toEqual([
    { kind: 'data', length: 512 },
    { kind: 'zero', length: 512 },
  ])
})

test('opening a large disk reads its table only where it is needed', async () => {
  const blockBytes = 4096
  const file = buildVhd({ uniqueId: id(1), sizeBytes: 64 << 20, blockBytes, sectors: new Map([[99_999, 7]]) })
  const source = memorySource(file)
  await using disk = await openVhd(source)
  expect((await disk.read(99_999n * 512n, 512))[511]).toBe(7)
  expect(source.readBytes()).toBeLessThan(8192)
})

test('blocks that share sectors are found whatever the order', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 9 }), fc.array(fc.nat(60), { maxLength: 12 }), (length, starts) => {
      const claims = new BlockClaims(length)
      const kept: number[] = []
      for (const start of starts) {
        const isFree = kept.every((other) => Math.abs(other - start) >= length)
        expect(claims.claim(start)).toBe(isFree)
        if (isFree) kept.push(start)
      }
    }),
  )
})

test('what is written as a fixed or dynamic disk reads back, and zeros take no room', async () => {
  const content = new Uint8Array((6 << 20) + 1536)
  content.fill(3, 100, 5000)
  content.fill(4, (4 << 20) - 1, (4 << 20) + 1)
  content.fill(5, content.length - 1)
  for (const write of [writeFixedVhd, writeDynamicVhd]) {
    const sink = memorySink()
    await write(openRaw(memorySource(content)), sink, identity)
    await using disk = await openVhd(memorySource(sink.bytes()))
    expect(disk.sizeBytes).toBe(BigInt(content.length))
    expect(Buffer.from(content).equals(await readAll(disk))).toBe(true)
  }
  const zeros = memorySink()
  await writeDynamicVhd(openRaw(memorySource(new Uint8Array(64 << 20))), zeros, identity)
  expect(zeros.bytes()).toHaveLength(512 + 1024 + 512 + 512)
})

test('a disk that no VHD can have is not written', async () => {
  const sink = memorySink()
  const odd = openRaw(memorySource(new Uint8Array(513)))
  expect(await codeOf(() => writeFixedVhd(odd, sink, identity))).toBe('IMAGE_SIZE_UNALIGNED')
  const large = openRaw(sparseSource(BigInt(maximumVhdBytes) + 512n, new Map()))
  expect(await codeOf(() => writeDynamicVhd(large, sink, identity))).toBe('IMAGE_TOO_LARGE')
  expect(sink.bytes()).toHaveLength(0)
})
