import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { BlockDevice } from '#core/block/block-device.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { ImageError } from '../errors.ts'
import type { ParentReference } from '../layer.ts'
import { memorySource, sparseSource } from '../memory.fixture.ts'
import { crc32cOf } from './crc32c.ts'
import { mebibyte } from './fields.ts'
import { openVhdx } from './open.ts'
import { PatchList, patchedSource } from './patched-source.ts'
import { buildVhdx, type LogEntryPlan, places, resignVhdx, type VhdxPlan, withLog } from './vhdx.fixture.ts'

const id = (digit: number): string => `00000000-0000-4000-8000-${digit.toString(16).padStart(12, '0')}`

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

/** Opens and reads everything. */
async function readCode(file: Uint8Array): Promise<string | undefined> {
  return codeOf(async () => {
    await using disk = await openVhdx(memorySource(file))
    await disk.read(0n, Number(disk.sizeBytes))
  })
}

const plan = (more: Partial<VhdxPlan> = {}): VhdxPlan => ({
  dataWriteGuid: id(1),
  sizeBytes: 3 * mebibyte,
  blockBytes: mebibyte,
  sectorBytes: 512,
  sectors: new Map([[0, 5]]),
  ...more,
})

test('the checksum is CRC-32C', () => {
  expect(crc32cOf(Buffer.from('123456789'))).toBe(0xe306_9283)
  expect(crc32cOf(Buffer.from('\0\0\0\x009'), 0)).toBe(crc32cOf(Buffer.from('abcd9'), 0))
})

test('blocks read as their state says', async () => {
  const file = buildVhdx(plan({ sizeBytes: 3 * mebibyte + 512, zeroBlocks: [2] }))
  const source = memorySource(file)
  {
    await using disk = await openVhdx(source)
    expect(await disk.extents(0n, 3 * mebibyte + 512)).toEqual([
      { kind: 'data', length: mebibyte },
      { kind: 'hole', length: mebibyte },
      { kind: 'zero', length: mebibyte },
      { kind: 'hole', length: 512 },
    ])
    const data = await disk.read(1n, 1000)
    expect(data.buffer).toBe(file.buffer)
    expect([data[0], data[510], data[511]]).toEqual([5, 5, 0])
    expect(await codeOf(() => disk.read(3n << 20n, 513))).toBe('BLOCK_OUT_OF_RANGE')
  }
  expect(source.isDisposed()).toBe(true)
})

const braces = (guid: string): string => `{${guid.toUpperCase()}}`
const sectorMaps = fc
  .array(fc.tuple(fc.integer({ min: 2030, max: 2070 }), fc.integer({ min: 1, max: 255 })), { maxLength: 20 })
  .map((pairs) => new Map(pairs))

test('any chain of differencing disks reads like its sectors laid over each other, at any offset', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(sectorMaps, { minLength: 1, maxLength: 3 }),
      fc.constantFrom(512 as const, 4096 as const),
      fc.nat(35 * 512),
      fc.nat(35 * 512),
      async (chain, sectorBytes, skipped, length) => {
        const sizeBytes = 2100 * sectorBytes
        const expected = new Uint8Array(sizeBytes)
        for (const sectors of chain.toReversed()) {
          for (const [sector, value] of sectors) {
            expected.fill(value, sector * sectorBytes, (sector + 1) * sectorBytes)
          }
        }
        const files = chain.map((sectors, index) =>
          buildVhdx({
            dataWriteGuid: id(index),
            sizeBytes,
            blockBytes: mebibyte * 2 ** (index % 2),
            sectorBytes,
            sectors,
            ...(index + 1 < chain.length ? { parent: { parent_linkage: braces(id(index + 1)) } } : {}),
          }),
        )
        await using disk = await openVhdx(memorySource(files[0]!), {
          resolveParent: async ({ identities: [wanted] }) => {
            const index = chain.findIndex((_, level) => id(level) === wanted)
            return { source: memorySource(files[index]!) }
          },
        })
        const start = 2029 * sectorBytes + skipped
        expect(
          Buffer.compare(await disk.read(BigInt(start), length), expected.subarray(start, start + length)),
        ).toBe(0)
      },
    ),
    { numRuns: 25 },
  )
})

test('sector bitmaps of later chunks are found', async () => {
  const sizeBytes = 5000 * 4 * mebibyte
  const sector = (sizeBytes - mebibyte) / 512
  const base = buildVhdx(
    plan({ dataWriteGuid: id(2), sizeBytes, blockBytes: 4 * mebibyte, sectors: new Map() }),
  )
  const child = buildVhdx(
    plan({
      sizeBytes,
      blockBytes: 4 * mebibyte,
      sectors: new Map([[sector, 7]]),
      parent: { parent_linkage: braces(id(2)) },
    }),
  )
  await using disk = await openVhdx(memorySource(child), {
    resolveParent: async () => ({ source: memorySource(base) }),
  })
  expect(await disk.extents(BigInt(sector - 1) * 512n, 1536)).toEqual([
    { kind: 'hole', length: 512 },
    { kind: 'data', length: 512 },
    { kind: 'hole', length: 512 },
  ])
})

async function openChild(parent: Record<string, string>, base?: Uint8Array): Promise<BlockDevice> {
  return openVhdx(memorySource(buildVhdx(plan({ parent }))), {
    resolveParent: async () => (base === undefined ? undefined : { source: memorySource(base) }),
  })
}

test('a parent is asked for by both identities and every path that the child knows', async () => {
  const asked: ParentReference[] = []
  const parent = {
    parent_linkage: braces(id(0xab)),
    parent_linkage2: braces(id(3)),
    absolute_win32_path: '\\\\?\\C:\\bäse.vhdx',
    relative_path: '.\\bäse.vhdx',
  }
  const opening = openVhdx(memorySource(buildVhdx(plan({ parent }))), {
    resolveParent: async (reference) => {
      asked.push(reference)
      return undefined
    },
  })
  expect(await codeOf(() => opening)).toBe('IMAGE_PARENT_MISSING')
  expect(asked).toEqual([
    {
      format: 'vhdx',
      identities: [id(0xab), id(3)],
      modifiedSeconds: undefined,
      paths: [
        { kind: 'relative', path: '.\\bäse.vhdx' },
        { kind: 'absolute', path: '\\\\?\\C:\\bäse.vhdx' },
      ],
    },
  ])
  await using disk = await openChild(parent, buildVhdx(plan({ dataWriteGuid: id(3) })))
  expect(disk.sizeBytes).toBe(3n << 20n)
})

test('a foreign parent, one without identity and a disk that is its own ancestor are refused', async () => {
  const base = buildVhdx(plan({ dataWriteGuid: id(2) }))
  expect(await codeOf(() => openChild({ parent_linkage: braces(id(3)) }, base))).toBe('IMAGE_PARENT_MISMATCH')
  expect(await codeOf(() => openChild({ parent_linkage: braces(id(1)) }, base))).toBe('IMAGE_CHAIN_CYCLIC')
  expect(await codeOf(() => openChild({ relative_path: 'a' }, base))).toBe('IMAGE_BAD_STRUCTURE')
  const none = { parent_linkage: braces('00000000-0000-0000-0000-000000000000') }
  expect(await codeOf(() => openChild(none, base))).toBe('IMAGE_BAD_STRUCTURE')
})

/** A disk of two blocks, at 5 and 6 MiB, with one change and right checksums. */
function broken(change: (view: DataView, file: Uint8Array) => void): Uint8Array {
  const file = buildVhdx(
    plan({
      sectors: new Map([
        [0, 1],
        [2048, 2],
      ]),
    }),
  )
  change(new DataView(file.buffer), file)
  resignVhdx(file)
  return file
}
const both = (offset: number, value: number): Uint8Array =>
  broken((view) => {
    for (const at of [0x1_0000, 0x2_0000]) view.setUint32(at + offset, value, true)
  })
/** Headers of one sequence number, the second with `byte` in its reserved part. */
const equalSequence = (byte: number): Uint8Array =>
  broken((view, file) => {
    view.setUint32(0x2_0008, 1, true)
    file[0x2_0200] = byte
  })
const region = (offset: number, value: number): Uint8Array =>
  broken((view) => {
    for (const at of [0x3_0000, 0x4_0000]) view.setUint32(at + 16 + offset, value, true)
  })
const metadata = (offset: number, value: number): Uint8Array =>
  broken((view) => view.setUint32(places.metadataAt + offset, value, true))
const entry = (index: number, state: number, mebibytes: number): Uint8Array =>
  broken((view) =>
    view.setBigUint64(places.tableAt + index * 8, BigInt(state) | (BigInt(mebibytes) << 20n), true),
  )
const cut = (length: number): Uint8Array => broken(() => {}).slice(0, length)
const unsigned = (at: number): Uint8Array => {
  const file = broken(() => {})
  for (const copy of [at, at + 0x1_0000]) file[copy + 100] = 1
  return file
}

test.each([
  ['IMAGE_UNKNOWN_FORMAT', new Uint8Array(7)],
  ['IMAGE_UNKNOWN_FORMAT', broken((_, file) => file.fill(0, 0, 1))],
  ['IMAGE_TRUNCATED', cut(0x1_0800)],
  ['IMAGE_TRUNCATED', cut(0x3_0800)],
  ['IMAGE_TRUNCATED', cut(3 * mebibyte + 1)],
  ['IMAGE_BLOCK_OUTSIDE', cut(7 * mebibyte - 1)],
  ['IMAGE_BAD_CHECKSUM', unsigned(0x1_0000)],
  ['IMAGE_BAD_CHECKSUM', unsigned(0x3_0000)],
  ['IMAGE_UNSUPPORTED_VERSION', both(64, 0x0002_0000)],
  ['IMAGE_UNSUPPORTED_VERSION', both(64, 0x0001_0001)],
  ['IMAGE_BAD_STRUCTURE', both(68, 4096)],
  ['IMAGE_BAD_STRUCTURE', equalSequence(1)],
  ['IMAGE_UNSUPPORTED_VERSION', region(0, 0)],
  ['IMAGE_BAD_STRUCTURE', region(-8, 1)],
  ['IMAGE_BAD_STRUCTURE', region(-8, 2048)],
  ['IMAGE_BAD_STRUCTURE', region(16, 3 * mebibyte + 4096)],
  ['IMAGE_BLOCK_OVERLAP', region(16, mebibyte)],
  ['IMAGE_BLOCK_OVERLAP', region(16, 2 * mebibyte)],
  ['IMAGE_TRUNCATED', region(20, 1)],
  ['IMAGE_BAD_STRUCTURE', region(24, 0)],
  ['IMAGE_BAD_STRUCTURE', metadata(0, 0)],
  ['IMAGE_BAD_STRUCTURE', metadata(8, 0x0800_0000)],
  ['IMAGE_UNSUPPORTED_VERSION', metadata(64, 0)],
  ['IMAGE_BAD_STRUCTURE', metadata(64 + 16, 0)],
  ['IMAGE_BAD_STRUCTURE', metadata(64 + 16, 0xffff_ffff)],
  ['IMAGE_BAD_STRUCTURE', metadata(64 + 20, 7)],
  ['IMAGE_BLOCK_SIZE', metadata(0x1_0000, mebibyte / 2)],
  ['IMAGE_BLOCK_SIZE', metadata(0x1_0000, 3 * mebibyte)],
  ['IMAGE_BLOCK_SIZE', metadata(0x1_0000, 512 * mebibyte)],
  ['IMAGE_BAD_STRUCTURE', metadata(0x1_0000 + 4, 2)],
  ['IMAGE_TOO_LARGE', metadata(0x1_0000 + 12, 0x4001)],
  ['IMAGE_BAD_STRUCTURE', metadata(0x1_0000 + 12, 0x40)],
  ['IMAGE_BAD_STRUCTURE', metadata(0x1_0000 + 8, 513)],
  ['IMAGE_BAD_STRUCTURE', metadata(0x1_0000 + 16, 1024)],
  ['IMAGE_BLOCK_OUTSIDE', entry(0, 6, 7)],
  ['IMAGE_BLOCK_OUTSIDE', entry(0, 6, 2 ** 44 - 1)],
  ['IMAGE_BLOCK_OVERLAP', entry(0, 6, 6)],
  ['IMAGE_BLOCK_OVERLAP', entry(0, 6, 0)],
  ['IMAGE_BLOCK_OVERLAP', entry(0, 6, 3)],
  ['IMAGE_BAD_STRUCTURE', entry(0, 7, 5)],
  ['IMAGE_BAD_STRUCTURE', entry(0, 4, 0)],
])('a lying structure is refused: %s', async (code, file) => {
  expect(await readCode(file)).toBe(code)
})

test('the newer of two headers counts, one is enough, and twice the same is one', async () => {
  expect(await readCode(equalSequence(0))).toBeUndefined()
  const newer = broken((_, file) => file.fill(0, 0x1_0000, 0x1_1000))
  expect(await readCode(newer)).toBeUndefined()
  const tables = broken(() => {})
  tables.fill(0, 0x3_0000, 0x3_1000)
  expect(await readCode(tables)).toBeUndefined()
})

test('a part of a differencing disk without its sector bitmap is refused', async () => {
  const file = buildVhdx(plan({ parent: { parent_linkage: braces(id(2)) } }))
  new DataView(file.buffer).setBigUint64(places.tableAt + 4096 * 8, 0n, true)
  await using disk = await openVhdx(memorySource(file), {
    resolveParent: async () => ({ source: memorySource(buildVhdx(plan({ dataWriteGuid: id(2) }))) }),
  })
  expect(await codeOf(() => disk.read(0n, 512))).toBe('IMAGE_BAD_STRUCTURE')
})

test('a disk of 64 TiB opens and reads without reading or keeping its table', async () => {
  const small = buildVhdx(plan({ sizeBytes: 2 ** 46, sectors: new Map() }))
  const view = new DataView(small.buffer)
  for (const at of [0x3_0000, 0x4_0000]) view.setUint32(at + 16 + 24, 513 * mebibyte, true)
  resignVhdx(small)
  await using disk = await openVhdx(sparseSource(1n << 40n, new Map([[0, small]])))
  expect(disk.sizeBytes).toBe(1n << 46n)
  expect(await disk.extents((1n << 46n) - 4096n, 4096)).toEqual([{ kind: 'hole', length: 4096 }])
})

const sector = (value: number): Uint8Array => new Uint8Array(4096).fill(value)
const dataAt = 5 * mebibyte
const logged = (...entries: LogEntryPlan[]): Uint8Array => withLog(buildVhdx(plan()), entries)
const logEntry = (at: number, tail: number, sequence: number, value: number): LogEntryPlan => ({
  at,
  tail,
  sequence,
  writes: [{ at: dataAt + 4096 * (value % 16), value: sector(value) }],
})
async function valuesIn(file: Uint8Array, ...sectors: number[]): Promise<number[]> {
  await using disk = await openVhdx(memorySource(file))
  const bytes = await disk.read(0n, mebibyte)
  for (let start = 0; start < 16 * 4096; start += 4096) {
    const written = bytes.subarray(start, start + 4096)
    if (start > 0) expect(written.every((byte) => byte === written[0])).toBe(true)
  }
  return sectors.map((index) => bytes[index * 4096] ?? -1)
}

test('a log is replayed in memory: later entries win, zeros too, and the file stays as it is', async () => {
  const file = logged(
    {
      at: 0,
      tail: 0,
      sequence: 7,
      writes: [2, 3, 4].map((index) => ({ at: dataAt + index * 4096, value: sector(index) })),
    },
    {
      at: 4 * 4096,
      tail: 0,
      sequence: 8,
      writes: [
        { at: dataAt + 3 * 4096, value: 4096 },
        { at: dataAt + 5 * 4096, value: sector(9) },
      ],
    },
  )
  const before = Uint8Array.from(file)
  expect(await valuesIn(file, 0, 1, 2, 3, 4, 5)).toEqual([5, 0, 2, 0, 4, 9])
  expect(Buffer.compare(before, file)).toBe(0)
})

test('a table entry that is only in the log names a block beyond what the file had', async () => {
  const file = buildVhdx(plan())
  const table = Uint8Array.from(file.subarray(places.tableAt, places.tableAt + 4096))
  new DataView(table.buffer).setBigUint64(8, 6n | (6n << 20n), true)
  const writes = [
    { at: places.tableAt, value: table },
    { at: 6 * mebibyte, value: sector(0x77) },
  ]
  const sized = { at: 0, tail: 0, sequence: 1, writes, lastFileBytes: 7 * mebibyte }
  const written = {
    ...sized,
    writes: [...writes, { at: 7 * mebibyte - 4096, value: 4096 }],
    lastFileBytes: 0,
  }
  for (const longer of [sized, written]) {
    await using disk = await openVhdx(memorySource(withLog(file, [longer])))
    expect((await disk.read(1n << 20n, 1))[0]).toBe(0x77)
    expect((await disk.read((1n << 20n) + 4096n, 1))[0]).toBe(0)
  }
  expect(await readCode(withLog(file, [{ ...sized, lastFileBytes: 0 }]))).toBe('IMAGE_BLOCK_OUTSIDE')
})

test('metadata of users is not taken for that of the disk', async () => {
  const file = broken((view, bytes) => {
    bytes.copyWithin(
      places.metadataAt + 32 + 4 * 32,
      places.metadataAt + 32 + 32,
      places.metadataAt + 32 + 64,
    )
    view.setUint32(places.metadataAt + 32 + 4 * 32 + 24, 1, true)
  })
  expect(await readCode(file)).toBeUndefined()
})

test('only entries from the tail that the newest head names are replayed', async () => {
  const last = mebibyte - 4096
  // Runs over the end of the log: 20 and 21 before it, 22 after.
  const ring = [
    logEntry(last - 4096 * 3, 0, 20, 1),
    logEntry(last - 4096, last - 4096 * 3, 21, 2),
    logEntry(0, last - 4096, 22, 3),
  ]
  expect(await valuesIn(logged(...ring), 1, 2, 3)).toEqual([0, 2, 3])
  const over = [logEntry(last, last, 30, 4), logEntry(4096, last, 31, 5)]
  expect(await valuesIn(logged(...over), 4, 5)).toEqual([4, 5])
  const stale = [logEntry(0, 0, 5, 6), logEntry(16_384, 16_384, 9, 7), logEntry(65_536, 0, 12, 8)]
  expect(await valuesIn(logged(...stale), 6, 7, 8)).toEqual([0, 7, 0])
})

test('an entry that was torn ends the sequence; a log without a whole one is refused', async () => {
  const logAt = mebibyte
  const file = logged(logEntry(0, 0, 5, 1), logEntry(8192, 0, 6, 2))
  const torn = (at: number): Uint8Array => {
    const copy = Uint8Array.from(file)
    copy[logAt + at] = (copy[logAt + at] ?? 0) ^ 1
    return copy
  }
  expect(await valuesIn(file, 1, 2)).toEqual([1, 2])
  expect(await valuesIn(torn(8192 + 4096 + 9), 1, 2)).toEqual([1, 0])
  expect(await readCode(torn(9))).toBe('IMAGE_LOG_CORRUPT')
  expect(await readCode(logged())).toBe('IMAGE_LOG_CORRUPT')
})

test('a log of a longer file, a log that is too large and entries over each other are refused', async () => {
  expect(await readCode(logged({ ...logEntry(0, 0, 1, 1), flushedFileBytes: 9 * mebibyte }))).toBe(
    'IMAGE_TRUNCATED',
  )
  const large = logged(logEntry(0, 0, 1, 1))
  for (const at of [0x1_0000, 0x2_0000]) new DataView(large.buffer).setUint32(at + 68, 65 * mebibyte, true)
  resignVhdx(large)
  expect(await readCode(large)).toBe('IMAGE_TOO_LARGE')
  const claims = logged(logEntry(0, 0, 1, 1))
  const head = claims.slice(mebibyte, mebibyte + 4096)
  new DataView(head.buffer).setUint32(8, mebibyte, true)
  for (let at = 0; at < mebibyte; at += 4096) claims.set(head, mebibyte + at)
  expect(await readCode(claims)).toBe('IMAGE_LOG_CORRUPT')
})

test('a differencing disk with a log reads, or fails with a code, whatever is changed in its structures', async () => {
  const parent = { parent_linkage: braces(id(2)), relative_path: 'a' }
  const base = buildVhdx(plan({ dataWriteGuid: id(2) }))
  const whole = withLog(buildVhdx(plan({ parent })), [logEntry(0, 0, 5, 1), logEntry(8192, 0, 6, 2)])
  const change = fc.record({
    at: fc.oneof(
      ...[0x1_0000, 0x3_0000, mebibyte, mebibyte + 8192, places.metadataAt, places.metadataAt + 0x1_0000].map(
        (start) => fc.nat(255).map((within) => start + within),
      ),
      fc.nat(4 * 8 - 1).map((within) => places.tableAt + within),
      fc.nat(7).map((within) => places.tableAt + 4096 * 8 + within),
    ),
    bytes: fc.oneof(fc.uint8Array({ minLength: 1, maxLength: 4 }), fc.constant(new Uint8Array(8).fill(0xff))),
  })
  await fc.assert(
    fc.asyncProperty(
      fc.array(change, { minLength: 1, maxLength: 4 }),
      fc.boolean(),
      async (changes, isSigned) => {
        const file = Uint8Array.from(whole)
        for (const { at, bytes } of changes) file.set(bytes, at)
        if (isSigned) {
          resignVhdx(file)
          for (const at of [mebibyte, mebibyte + 8192]) {
            new DataView(file.buffer).setUint32(at + 4, crc32cOf(file.subarray(at, at + 8192), 4), true)
          }
        }
        await codeOf(async () => {
          await using disk = await openVhdx(memorySource(file), {
            resolveParent: async () => ({ source: memorySource(base) }),
          })
          await disk.read(0n, Math.min(Number(disk.sizeBytes), 4 * mebibyte))
        })
      },
    ),
    { numRuns: 150 },
  )
})

test('patches laid over each other in any order read as if they had been written', async () => {
  const patches = fc.array(
    fc.record({ start: fc.nat(50), length: fc.integer({ min: 1, max: 20 }), value: fc.nat(9) }),
    { maxLength: 12 },
  )
  await fc.assert(
    fc.asyncProperty(patches, fc.nat(70), fc.nat(70), async (writes, a, b) => {
      const [start, end] = [Math.min(a, b), Math.max(a, b)]
      const expected = new Uint8Array(70)
      expected.fill(0xee, 0, 40)
      const list = new PatchList()
      for (const { start, length, value } of writes) {
        list.add({
          start,
          end: start + length,
          bytes: value === 0 ? undefined : new Uint8Array(length).fill(value),
        })
        expected.fill(value, start, start + length)
      }
      const source = patchedSource(memorySource(new Uint8Array(40).fill(0xee)), list, 70n)
      expect(await source.read(BigInt(start), end - start)).toEqual(expected.subarray(start, end))
    }),
  )
})
