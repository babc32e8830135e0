import { expect, test } from 'vitest'
import type { BlockDevice } from './block-device.ts'
import { BlockError } from './block-device.ts'
import { patternedDisk } from './disk.fixture.ts'
import { memoryDevice } from './memory-device.fixture.ts'
import { memorySlots } from './memory-slots.ts'
import { overlay, overlayBlocks } from './overlay.ts'
import { SlotMap } from './slot-map.ts'
import { spilledSlots } from './spilled-slots.ts'

const sizeBytes = 256 * 1024
const blocks = overlayBlocks(BigInt(sizeBytes))

/** A base that notes what is read, and fails while it is told to. */
function watchedBase(): BlockDevice & { readonly reads: string[]; fails: boolean } {
  const device = memoryDevice(patternedDisk(sizeBytes), false)
  return {
    ...device,
    reads: [],
    fails: false,
    async read(offset, length) {
      this.reads.push(`${length} at ${offset}`)
      if (this.fails) throw new BlockError('BLOCK_CLOSED', 'the key was withdrawn')
      return device.read(offset, length)
    },
  }
}

test('a part of a block takes that block from the base and nothing else', async () => {
  const base = watchedBase()
  await using disk = overlay(base, memorySlots(blocks, sizeBytes))
  await disk.write?.(5000n, new Uint8Array(20_000).fill(1))
  expect(base.reads).toEqual(['4096 at 4096', '4096 at 24576'])
  await disk.write?.(5000n, new Uint8Array(100).fill(2))
  await disk.write?.(8192n, new Uint8Array(8192).fill(3))
  expect(base.reads).toHaveLength(2)
})

test('a long run of the base is read at once', async () => {
  const base = watchedBase()
  await using disk = overlay(base, memorySlots(blocks, sizeBytes))
  await disk.write?.(65_536n, new Uint8Array(4096).fill(1))
  await disk.read(0n, sizeBytes)
  expect(base.reads).toEqual(['65536 at 0', '192512 at 69632'])
})

test('an error of the base keeps its code and leaves the overlay as it was', async () => {
  const base = watchedBase()
  await using disk = overlay(base, memorySlots(blocks, sizeBytes))
  await disk.write?.(0n, new Uint8Array(4096).fill(1))
  base.fails = true
  const withdrawn = { code: 'BLOCK_CLOSED', message: 'the key was withdrawn' }
  await expect(disk.write?.(9000n, new Uint8Array(10))).rejects.toMatchObject(withdrawn)
  await expect(disk.read(0n, 8192)).rejects.toMatchObject(withdrawn)
  expect((await disk.read(0n, 4096))[4095]).toBe(1)
  await disk.write?.(12_288n, new Uint8Array(4096).fill(2))
  base.fails = false
  const expected = patternedDisk(sizeBytes)
  expected.fill(1, 0, 4096).fill(2, 12_288, 16_384)
  expect(await disk.read(0n, sizeBytes)).toEqual(expected)
})

test('without room a write is refused, what was written stays, and room that is given back is used', async () => {
  await using disk = overlay(memoryDevice(new Uint8Array(sizeBytes), false), memorySlots(blocks, 4 * 4096))
  await disk.write?.(0n, new Uint8Array(4 * 4096).fill(1))
  const full = { code: 'OVERLAY_FULL', remedy: expect.any(String) as string }
  await expect(disk.write?.(4096n * 3n, new Uint8Array(8192).fill(2))).rejects.toMatchObject(full)
  await expect(disk.writeZeroes?.(4096n * 9n, 100)).rejects.toMatchObject(full)
  expect((await disk.read(0n, 16_384)).every((byte) => byte === 1)).toBe(true)
  await disk.write?.(0n, new Uint8Array(4096).fill(3))
  await disk.trim?.(8192n, 4096)
  await disk.write?.(40_960n, new Uint8Array(4096).fill(4))
  expect((await disk.read(40_960n, 1))[0]).toBe(4)
})

test('whole blocks of zeros are holes and take no room, parts of blocks are data', async () => {
  const slots = memorySlots(blocks, 4096)
  await using disk = overlay(memoryDevice(new Uint8Array(sizeBytes).fill(9), false), slots)
  await disk.writeZeroes?.(4096n, 12_288)
  expect(slots.free).toBe(1)
  await disk.writeZeroes?.(32_768n, 1000)
  expect(slots.free).toBe(0)
  expect(await disk.extents(0n, 40_960)).toEqual([
    { kind: 'data', length: 4096 },
    { kind: 'hole', length: 12_288 },
    { kind: 'data', length: 24_576 },
  ])
})

test('what spills stays where it is, zeros of the first one give way', async () => {
  const first = memorySlots(blocks, 2 * 4096)
  await using disk = overlay(
    memoryDevice(new Uint8Array(sizeBytes), false),
    spilledSlots(first, memorySlots(blocks, 4 * 4096)),
  )
  await disk.writeZeroes?.(0n, 4096 * 8)
  await disk.write?.(0n, new Uint8Array(4 * 4096).fill(1))
  expect(first.free).toBe(0)
  await disk.trim?.(0n, 4096)
  expect(first.free).toBe(1)
  await disk.write?.(8192n, new Uint8Array(8192).fill(2))
  expect(first.free).toBe(1)
  await disk.write?.(20_480n, new Uint8Array(3 * 4096).fill(3))
  const bytes = await disk.read(0n, 8 * 4096)
  expect(Array.from({ length: 8 }, (_, block) => bytes[block * 4096])).toEqual([0, 1, 2, 2, 0, 3, 3, 3])
  await expect(disk.write?.(65_536n, new Uint8Array(4096).fill(4))).rejects.toMatchObject({
    code: 'OVERLAY_FULL',
  })
})

test('a disk of 2 TiB that is trimmed costs next to nothing, and is too large from 16 TiB on', () => {
  const map = new SlotMap(2 ** 29)
  map.setZero(0, 2 ** 29, () => {})
  map.setSlot(2 ** 28, 5)
  expect(map.run(0, 2 ** 29)).toEqual({ kind: 'zero', count: 2 ** 28 })
  expect(map.run(2 ** 28 + 1, 2 ** 28 - 1)).toEqual({ kind: 'zero', count: 2 ** 28 - 1 })
  expect(() => new SlotMap(2 ** 32)).toThrow(
    expect.objectContaining({ code: 'OVERLAY_TOO_LARGE', remedy: expect.any(String) }) as Error,
  )
})

test('the map of 10 GiB takes less than 40 MiB', () => {
  const before = process.memoryUsage().arrayBuffers
  const map = new SlotMap(2_621_440, true)
  for (let block = 0; block < map.blocks; block++) map.setSlot(block, block, 1n)
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(40 << 20)
  expect(map.slotOf(map.blocks - 1)).toBe(map.blocks - 1)
})

test('a closed overlay answers nothing, and what was under way is finished first', async () => {
  const base = memoryDevice(new Uint8Array(sizeBytes), false)
  const disk = overlay(base, memorySlots(blocks, sizeBytes))
  const write = disk.write?.(100n, new Uint8Array(10))
  await disk[Symbol.asyncDispose]()
  await write
  const closed = { code: 'BLOCK_CLOSED' }
  await expect(disk.read(0n, 1)).rejects.toMatchObject(closed)
  await expect(disk.write?.(0n, new Uint8Array(1))).rejects.toMatchObject(closed)
  await expect(base.read(0n, 1)).rejects.toMatchObject(closed)
})
