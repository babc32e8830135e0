import { readFileSync } from 'node:fs'
import { crc32, gunzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { isCoded } from '#core/errors/coded-error.ts'
import { memorySource, sparseSource } from '#core/image/memory.fixture.ts'
import { probeFileSystem, readPartitions } from './index.ts'

const sector = 512
const linux = '0fc63daf-8483-4772-8e79-3d69d8477de4'

interface Slot {
  readonly type: number
  readonly start: number
  readonly sectors: number
}

function bootRecord(...slots: readonly Slot[]): Uint8Array {
  const bytes = new Uint8Array(sector)
  const view = new DataView(bytes.buffer)
  for (const [index, { type, start, sectors }] of slots.entries()) {
    const at = 446 + index * 16
    view.setUint8(at + 4, type)
    view.setUint32(at + 8, start, true)
    view.setUint32(at + 12, sectors, true)
  }
  bytes.set([0x55, 0xaa], 510)
  return bytes
}

/** A disk of 1 MiB with some sectors in it. */
function diskOf(sectors: Readonly<Record<number, Uint8Array>>): Uint8Array {
  const disk = new Uint8Array(1 << 20)
  for (const [at, bytes] of Object.entries(sectors)) disk.set(bytes, Number(at) * sector)
  return disk
}

const extended = { type: 0x05, start: 100, sectors: 1000 }

const logicalDisk = (second: Slot, third: Slot): Uint8Array =>
  diskOf({
    0: bootRecord({ type: 0x83, start: 10, sectors: 50 }, extended),
    100: bootRecord({ type: 0x83, start: 2, sectors: 90 }, second),
    300: bootRecord({ type: 0x82, start: 2, sectors: 50 }, third),
  })

test('primary and logical partitions are found, and no further than they go', async () => {
  const disk = logicalDisk({ type: 0x05, start: 200, sectors: 100 }, { type: 0, start: 0, sectors: 0 })
  const table = await readPartitions(memorySource(disk))
  expect(table.scheme).toBe('mbr')
  expect(
    table.partitions.map(({ number, offset, sizeBytes, type }) => [
      number,
      Number(offset) / sector,
      Number(sizeBytes) / sector,
      type,
    ]),
  ).toEqual([
    [1, 10, 50, '83'],
    [2, 100, 1000, '05'],
    [5, 102, 90, '83'],
    [6, 302, 50, '82'],
  ])
})

test.each([
  ['PARTITION_CHAIN_CYCLIC', { start: 0 }, { start: 0 }],
  ['PARTITION_CHAIN_CYCLIC', { start: 200 }, { start: 0 }],
  ['PARTITION_OUTSIDE', { start: 200 }, { start: 1001 }],
  ['PARTITION_TABLE_CORRUPT', { start: 250 }, { start: 0 }],
])('a chain of logical partitions is refused with %s', async (code, second, third) => {
  const disk = logicalDisk({ type: 0x05, sectors: 100, ...second }, { type: 0x05, sectors: 100, ...third })
  await expect(readPartitions(memorySource(disk))).rejects.toMatchObject({ code, remedy: expect.any(String) })
})

test('a partition that is larger than the disk is refused', async () => {
  const disk = diskOf({ 0: bootRecord({ type: 0x83, start: 10, sectors: 3000 }) })
  await expect(readPartitions(memorySource(disk))).rejects.toMatchObject({ code: 'PARTITION_OUTSIDE' })
})

test('an empty disk, an empty table, and a disk of a few bytes are what they are', async () => {
  const none = { scheme: 'none', partitions: [] }
  expect(await readPartitions(memorySource(diskOf({})))).toEqual(none)
  expect(await readPartitions(memorySource(new Uint8Array(100)))).toEqual(none)
  expect(await readPartitions(memorySource(diskOf({ 0: bootRecord() })))).toEqual({
    scheme: 'mbr',
    partitions: [],
  })
  expect(await probeFileSystem(memorySource(new Uint8Array(100)))).toBeUndefined()
})

/** A GPT with one partition, and its backup at the end. */
function gptDisk(): Uint8Array {
  const disk = diskOf({ 0: bootRecord({ type: 0xee, start: 1, sectors: 2047 }) })
  const last = disk.length / sector - 1
  const entries = new Uint8Array(128 * 128)
  entries.set(Buffer.from('af3dc60f838472478e793d69d8477de4', 'hex'))
  const view = new DataView(entries.buffer)
  view.setUint8(16, 1)
  view.setBigUint64(32, 100n, true)
  view.setBigUint64(40, 199n, true)
  entries.set(Buffer.from('root ä', 'utf16le'), 56)
  disk.set(entries, 2 * sector)
  disk.set(entries, (last - 32) * sector)
  disk.set(gptHeader(1, 2, entries), sector)
  disk.set(gptHeader(last, last - 32, entries), last * sector)
  return disk
}

function gptHeader(at: number, entriesAt: number, entries: Uint8Array, count = 128): Uint8Array {
  const header = new Uint8Array(92)
  const view = new DataView(header.buffer)
  header.set(Buffer.from('EFI PART'))
  view.setUint32(8, 0x10000, true)
  view.setUint32(12, 92, true)
  view.setBigUint64(24, BigInt(at), true)
  view.setBigUint64(72, BigInt(entriesAt), true)
  view.setUint32(80, count, true)
  view.setUint32(84, 128, true)
  view.setUint32(88, crc32(entries), true)
  view.setUint32(16, crc32(header), true)
  return header
}

const gptTable = {
  scheme: 'gpt',
  partitions: [{ number: 1, offset: 51_200n, sizeBytes: 51_200n, type: linux, name: 'root ä' }],
}

test('a GPT is read; when its header or its entries are broken, its backup', async () => {
  expect(await readPartitions(memorySource(gptDisk()))).toEqual(gptTable)
  for (const at of [sector + 40, 2 * sector + 33, sector]) {
    const disk = gptDisk()
    disk[at] = (disk[at] ?? 0) ^ 1
    expect(await readPartitions(memorySource(disk))).toEqual(gptTable)
    disk[disk.length - sector + 40] = 99
    await expect(readPartitions(memorySource(disk))).rejects.toMatchObject({
      code: 'PARTITION_TABLE_CORRUPT',
    })
  }
})

test('a GPT that claims to be longer than any is refused before it is read', async () => {
  const disk = gptDisk()
  disk.set(gptHeader(1, 2, new Uint8Array(0), 0xffff_ffff), sector)
  await expect(readPartitions(memorySource(disk))).rejects.toMatchObject({ code: 'PARTITION_TOO_MANY' })
})

test('a huge disk costs no more than a small one', async () => {
  const parts = new Map([[0, bootRecord({ type: 0x83, start: 2048, sectors: 0xf000_0000 })]])
  const { partitions } = await readPartitions(sparseSource(1n << 42n, parts))
  expect(partitions).toEqual([{ number: 1, offset: 1_048_576n, sizeBytes: 0xf000_0000n * 512n, type: '83' }])
})

function vector(name: string): Uint8Array {
  return new Uint8Array(gunzipSync(readFileSync(new URL(`../../vectors/partition/${name}`, import.meta.url))))
}

const at = (start: number, sectors: number) => ({
  offset: BigInt(start * sector),
  sizeBytes: BigInt(sectors * sector),
})

test('tables that sfdisk has written are read', async () => {
  expect(await readPartitions(memorySource(vector('mbr.img.gz')))).toEqual({
    scheme: 'mbr',
    partitions: [
      { number: 1, ...at(64, 200), type: '83' },
      { number: 2, ...at(300, 1400), type: '05' },
      { number: 5, ...at(302, 100), type: '83' },
      { number: 6, ...at(410, 100), type: '82' },
      { number: 7, ...at(520, 100), type: '83' },
    ],
  })
  const gpt = memorySource(vector('gpt.img.gz'))
  expect(await readPartitions(gpt)).toEqual({
    scheme: 'gpt',
    partitions: [
      { number: 1, ...at(64, 100), type: 'c12a7328-f81f-11d2-ba4b-00c04fc9e5a1', name: 'EFI' },
      { number: 2, ...at(200, 800), type: linux, name: 'wurzel ä' },
      { number: 3, ...at(1100, 500), type: '0657fd6d-a4ab-43c4-84e5-0933c84b4f4f', name: 'swap' },
    ],
  })
  expect(await probeFileSystem(gpt, at(200, 800))).toEqual({ type: 'ext2', label: 'wurzel' })
})

test('tables that sfdisk has written, with any changes or cut anywhere, are read, or refused with a code', async () => {
  const disks = ['mbr.img.gz', 'gpt.img.gz'].map(vector)
  const numbers = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 4 }),
    fc.constantFrom(new Uint8Array(4), new Uint8Array(8).fill(0xff), Uint8Array.of(0, 0, 0, 0x80)),
  )
  for (const whole of disks) {
    const starts = Array.from({ length: whole.length / sector }, (_, at) => at * sector).filter((at) =>
      whole.subarray(at, at + sector).some((byte) => byte !== 0),
    )
    const edit = fc.tuple(fc.constantFrom(...starts), fc.nat(sector - 1), numbers)
    const cut = fc.option(fc.nat(whole.length), { freq: 8 })
    await fc.assert(
      fc.asyncProperty(fc.array(edit, { maxLength: 6 }), cut, fc.boolean(), async (edits, end, isSigned) => {
        const disk = whole.slice()
        for (const [start, within, bytes] of edits)
          disk.set(bytes.subarray(0, disk.length - start - within), start + within)
        if (isSigned && whole === disks[1]) resign(disk)
        await requireReadOrRefused(disk.subarray(0, end ?? disk.length))
      }),
      { numRuns: 300 },
    )
  }
})

/** Partitions that are read lie on the disk, and can be looked at. */
async function requireReadOrRefused(disk: Uint8Array): Promise<void> {
  try {
    const { partitions } = await readPartitions(memorySource(disk))
    for (const partition of partitions) {
      expect(partition.offset + partition.sizeBytes).toBeLessThanOrEqual(BigInt(disk.length))
      await probeFileSystem(memorySource(disk), partition)
    }
  } catch (error) {
    if (!isCoded(error)) throw error
  }
}

test('tables with any changes are read, or refused with a code', async () => {
  const chain = logicalDisk({ type: 0x05, start: 200, sectors: 100 }, { type: 0, start: 0, sectors: 0 })
  const places = fc.oneof(
    fc.integer({ min: 440, max: 1200 }),
    fc.nat(3000),
    fc.integer({ min: 51_200, max: 51_712 }),
  )
  const edit = fc.tuple(places, fc.oneof(fc.nat(255), fc.constantFrom(0, 5, 0xee, 255)))
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(gptDisk(), chain),
      fc.array(edit, { maxLength: 6 }),
      fc.boolean(),
      async (whole, edits, isSigned) => {
        const disk = whole.slice()
        for (const [at, value] of edits) disk[at] = value
        if (isSigned && whole !== chain) resign(disk)
        await requireReadOrRefused(disk)
      },
    ),
    { numRuns: 1000 },
  )
})

test('arbitrary bytes are some disk, or refused with a code', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 6000 }), async (bytes) => {
      if (bytes.length >= 512) bytes.set([0x55, 0xaa], 510)
      await probeFileSystem(memorySource(bytes))
      await readPartitions(memorySource(bytes)).catch((error: unknown) => {
        if (!isCoded(error)) throw error
      })
    }),
  )
})

/** Changes that the checksums hide. */
function resign(disk: Uint8Array): void {
  const view = new DataView(disk.buffer)
  view.setUint32(sector + 88, crc32(disk.subarray(2 * sector, 34 * sector)), true)
  view.setUint32(sector + 16, 0, true)
  const size = Math.min(512, view.getUint32(sector + 12, true))
  view.setUint32(sector + 16, crc32(disk.subarray(sector, sector + size)), true)
}
