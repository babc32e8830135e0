import { asFixedVhd, openRaw, openVhd, openVhdx } from '#core/image/index.ts'
import { memorySource } from '#core/image/memory.fixture.ts'
import { buildVhd } from '#core/image/vhd/vhd.fixture.ts'
import { buildVhdx } from '#core/image/vhdx/vhdx.fixture.ts'
import { type BlockDeviceCase, blockDeviceContract } from './block-device.contract.ts'
import { capturable } from './capturable.ts'
import { patternedDisk } from './disk.fixture.ts'
import { gated } from './gated.ts'
import { memoryDevice, readyDevice } from './memory-device.fixture.ts'
import { memorySlots } from './memory-slots.ts'
import { overlay, overlayBlocks } from './overlay.ts'
import { sliced } from './sliced.ts'
import { spilledSlots } from './spilled-slots.ts'

const uniqueId = 'b3c1a6f0-1d2e-4f5a-8b9c-0d1e2f3a4b5c'
const otherId = 'c4d2b7e1-2e3f-4a6b-8c0d-1e2f3a4b5c6d'
/** A block of a VHDX has 1 MiB at the least: the second one is not whole. */
const vhdx = { sizeBytes: 1_572_864, blockBytes: 1_048_576, sectorBytes: 512 } as const
const beyond: ReadonlyMap<number, number> = new Map([[3000, 4]])
/** Neither whole blocks nor whole sectors. */
const oddBytes = 77_777

/** A disk of which these sectors are filled with these bytes. */
function sectorsOf(sizeBytes: number, ...layers: readonly ReadonlyMap<number, number>[]): Uint8Array {
  const content = new Uint8Array(sizeBytes)
  for (const sectors of layers)
    for (const [sector, value] of sectors) content.fill(value, sector * 512, (sector + 1) * 512)
  return content
}

/** Of two disks, one over the other: alone in a block, beside each other, over each other, and at the end. */
const below: ReadonlyMap<number, number> = new Map([
  [3, 7],
  [4, 8],
  [200, 9],
])
const above: ReadonlyMap<number, number> = new Map([
  [4, 1],
  [5, 2],
  [255, 3],
])

const cases: readonly BlockDeviceCase[] = [
  {
    name: 'a device in memory',
    make: async () => {
      const content = patternedDisk(oddBytes)
      return { device: memoryDevice(content.slice()), content }
    },
  },
  {
    name: 'a device in memory, in part at once',
    make: async () => {
      const content = patternedDisk(oddBytes)
      return { device: readyDevice(content.slice()), content }
    },
  },
  {
    name: 'a raw image',
    make: async () => {
      const content = patternedDisk(oddBytes)
      return { device: openRaw(memorySource(content)), content }
    },
  },
  {
    name: 'a dynamic VHD',
    make: async () => {
      const content = sectorsOf(131_072, below)
      const file = buildVhd({ uniqueId, sizeBytes: content.length, blockBytes: 16_384, sectors: below })
      return { device: await openVhd(memorySource(file)), content }
    },
  },
  {
    name: 'a differencing VHD',
    make: async () => {
      const content = sectorsOf(131_072, below, above)
      const common = { sizeBytes: content.length, blockBytes: 16_384 }
      const parent = buildVhd({ ...common, uniqueId, sectors: below })
      const child = buildVhd({ ...common, uniqueId: otherId, sectors: above, parent: { uniqueId } })
      const resolveParent = async () => ({ source: memorySource(parent) })
      return { device: await openVhd(memorySource(child), { resolveParent }), content }
    },
  },
  {
    name: 'a dynamic VHDX',
    runs: 10,
    make: async () => {
      const content = sectorsOf(vhdx.sizeBytes, below, beyond)
      const file = buildVhdx({ ...vhdx, dataWriteGuid: uniqueId, sectors: new Map([...below, ...beyond]) })
      return { device: await openVhdx(memorySource(file)), content }
    },
  },
  {
    name: 'a differencing VHDX',
    runs: 10,
    make: async () => {
      const content = sectorsOf(vhdx.sizeBytes, below, above, beyond)
      const parent = buildVhdx({ ...vhdx, dataWriteGuid: uniqueId, sectors: below })
      const child = buildVhdx({
        ...vhdx,
        dataWriteGuid: otherId,
        sectors: new Map([...above, ...beyond]),
        parent: { parent_linkage: `{${uniqueId}}`, relative_path: '.\\parent.vhdx' },
      })
      const resolveParent = async () => ({ source: memorySource(parent) })
      return { device: await openVhdx(memorySource(child), { resolveParent }), content }
    },
  },
  {
    name: 'a device behind an open gate',
    make: async () => {
      const content = patternedDisk(oddBytes)
      return { device: gated(readyDevice(content.slice()), new AbortController().signal), content }
    },
  },
  {
    name: 'an overlay in memory',
    make: async () => {
      const content = patternedDisk(oddBytes)
      const slots = memorySlots(overlayBlocks(BigInt(oddBytes)), 131_072)
      return { device: overlay(readyDevice(content.slice(), false), slots), content }
    },
  },
  {
    name: 'an overlay that spills',
    make: async () => {
      const content = patternedDisk(oddBytes)
      const blocks = overlayBlocks(BigInt(oddBytes))
      const slots = spilledSlots(memorySlots(blocks, 5 * 4096), memorySlots(blocks, 131_072))
      return { device: overlay(memoryDevice(content.slice(), false), slots), content }
    },
  },
  {
    name: 'an overlay that is being captured',
    make: async () => {
      const content = patternedDisk(oddBytes)
      const blocks = overlayBlocks(BigInt(oddBytes))
      const slots = capturable(memorySlots(blocks, 131_072), blocks)
      await slots.write(0, content.subarray(0, 8192))
      slots.capture(memorySlots(blocks, 131_072))
      return { device: overlay(memoryDevice(content.slice(), false), slots), content }
    },
  },
  {
    name: 'an overlay on an overlay',
    make: async () => {
      const content = patternedDisk(oddBytes)
      const slots = () => memorySlots(overlayBlocks(BigInt(oddBytes)), 131_072)
      const below = overlay(memoryDevice(new Uint8Array(oddBytes), false), slots())
      await below.write?.(0n, content)
      return { device: overlay(below, slots()), content }
    },
  },
  {
    name: 'a slice',
    make: async () => {
      const whole = patternedDisk(oddBytes)
      const content = whole.slice(1000, 60_000)
      return { device: sliced(readyDevice(whole), 1000n, 59_000n), content }
    },
  },
  {
    name: 'a slice of a read-only device',
    make: async () => {
      const whole = patternedDisk(oddBytes)
      return {
        device: sliced(memoryDevice(whole, false), 4096n, 65_536n),
        content: whole.slice(4096, 69_632),
      }
    },
  },
  {
    name: 'a fixed VHD of a device',
    readOnlyFrom: 73_728,
    make: async () => {
      const disk = patternedDisk(73_728)
      const device = asFixedVhd(memoryDevice(disk.slice()), { uniqueId, createdSeconds: 1 })
      const footer = await device.read(73_728n, 512)
      return { device, content: Uint8Array.from([...disk, ...footer]) }
    },
  },
]

for (const subject of cases) blockDeviceContract(subject)
