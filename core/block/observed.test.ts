import { expect, test } from 'vitest'
import { type BlockDeviceCase, blockDeviceContract } from './block-device.contract.ts'
import { TraceRecorder, traced } from './boot-trace-recorder.ts'
import { patternedDisk } from './disk.fixture.ts'
import { memoryDevice, readyDevice } from './memory-device.fixture.ts'
import { observed } from './observed.ts'
import { readAhead } from './read-ahead.ts'
import { readAround } from './read-around.ts'

/** Neither whole blocks nor whole sectors. */
const oddBytes = 77_777

const cases: readonly BlockDeviceCase[] = [
  {
    name: 'a read-only device that is read ahead',
    make: async () => {
      const content = patternedDisk(oddBytes)
      return { device: readAhead(readyDevice(content.slice(), false), { warm: () => {} }), content }
    },
  },
  {
    name: 'a read-only device that is read around',
    make: async () => {
      const content = patternedDisk(oddBytes)
      const options = { warm: () => {}, maximumBlockBytes: oddBytes }
      return { device: readAround(readyDevice(content.slice(), false), options), content }
    },
  },
  {
    name: 'a device that is traced',
    make: async () => {
      const content = patternedDisk(oddBytes)
      const recorder = new TraceRecorder({ sizeBytes: BigInt(oddBytes), now: () => 0, chunkBytes: 4096 })
      return { device: traced(memoryDevice(content.slice()), recorder), content }
    },
  },
]

for (const subject of cases) blockDeviceContract(subject)

test('only reads inside the device are told', async () => {
  const told: [number, number][] = []
  const device = observed(memoryDevice(new Uint8Array(8192)), (offset, length) => told.push([offset, length]))
  await device.read(4096n, 4096)
  await device.read(4096n, 0)
  await expect(device.read(4097n, 4096)).rejects.toMatchObject({ code: 'BLOCK_OUT_OF_RANGE' })
  await expect(device.read(-1n, 1)).rejects.toMatchObject({ code: 'BLOCK_OUT_OF_RANGE' })
  await expect(device.read(0n, Number.NaN)).rejects.toMatchObject({ code: 'BLOCK_OUT_OF_RANGE' })
  await device.extents(0n, 8192)
  await device.write?.(0n, new Uint8Array(10))
  expect(told).toEqual([[4096, 4096]])
})

test('reads that are answered at once are told, too, and others once', async () => {
  const told: [number, number][] = []
  const device = observed(readyDevice(new Uint8Array(8192)), (offset, length) => told.push([offset, length]))
  expect(device.readNow?.(0, 100)).toHaveLength(100)
  expect(device.readNow?.(4096, 100)).toBeUndefined()
  await device.read(4096n, 100)
  expect(told).toEqual([
    [0, 100],
    [4096, 100],
  ])
})
