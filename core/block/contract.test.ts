import { asFixedVhd, openRaw, openVhd } from '#core/image/index.ts'
import { memorySource } from '#core/image/memory.fixture.ts'
import { buildVhd } from '#core/image/vhd/vhd.fixture.ts'
import { type BlockDeviceCase, blockDeviceContract } from './block-device.contract.ts'
import { capturable } from './capturable.ts'
import { patternedDisk } from './disk.fixture.ts'
import { memoryDevice } from './memory-device.fixture.ts'
import { memorySlots } from './memory-slots.ts'
import { overlay, overlayBlocks } from './overlay.ts'
import { sliced } from './sliced.ts'
import { spilledSlots } from './spilled-slots.ts'

const uniqueId = 'b3c1a6f0-1d2e-4f5a-8b9c-0d1e2f3a4b5c'
/** Neither whole blocks nor whole sectors. */
const oddBytes = 77_777

const cases: readonly BlockDeviceCase[] = [
  {
    name: 'a device in memory',
    make: async () => {
      const content = patternedDisk(oddBytes)
      return { device: memoryDevice(content.slice()), content }
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
      const sectors = new Map([
        [3, 7],
        [4, 8],
        [200, 9],
      ])
      const content = new Uint8Array(131_072)
      for (const [sector, value] of sectors) content.fill(value, sector * 512, (sector + 1) * 512)
      const file = buildVhd({ uniqueId, sizeBytes: content.length, blockBytes: 16_384, sectors })
      return { device: await openVhd(memorySource(file)), content }
    },
  },
  {
    name: 'an overlay in memory',
    make: async () => {
      const content = patternedDisk(oddBytes)
      const slots = memorySlots(overlayBlocks(BigInt(oddBytes)), 131_072)
      return { device: overlay(memoryDevice(content.slice(), false), slots), content }
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
      return { device: sliced(memoryDevice(whole), 1000n, 59_000n), content }
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
