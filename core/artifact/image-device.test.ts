import { type BlockDeviceCase, blockDeviceContract } from '#core/block/block-device.contract.ts'
import { memoryDevice } from '#core/block/memory-device.fixture.ts'
import { importDevice, memoryStore, noise, openDevice } from './artifact.fixture.ts'

const chunk = 65_536
/** The last chunk is not whole. */
const content: Uint8Array = new Uint8Array(12 * chunk + 1024)
content.set(noise(2 * chunk + 5000, 1), 3 * chunk - 100)
content.set(Buffer.alloc(3 * chunk, 'over and over '), 8 * chunk)
content.set(noise(500, 2), 12 * chunk + 200)
const store = memoryStore()
const imported: ReturnType<typeof importDevice> = importDevice(memoryDevice(content, false), store)

const cases: readonly BlockDeviceCase[] = [
  ['a signed image', 16 * chunk] as const,
  ['a signed image of which memory keeps two chunks', 2 * chunk] as const,
].map(([name, memoryBytes]) => ({
  name,
  make: async () => {
    const { device } = await openDevice((await imported).manifestDigest, [store], { memoryBytes })
    return { device, content }
  },
}))

for (const subject of cases) blockDeviceContract(subject)
