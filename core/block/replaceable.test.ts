import { expect, test } from 'vitest'
import { blockDeviceContract } from './block-device.contract.ts'
import { patternedDisk } from './disk.fixture.ts'
import { memoryDevice, readyDevice } from './memory-device.fixture.ts'
import { ReplaceableDevice } from './replaceable.ts'

blockDeviceContract({
  name: 'a device that can be replaced',
  make: async () => {
    const content = patternedDisk(77_777)
    const inner = readyDevice(content.slice())
    const device = new ReplaceableDevice(inner)
    device.use(inner)
    return { device, content }
  },
})

test('what was withdrawn fails with its reason until another device is there', async () => {
  const memory = new Uint8Array(8192).fill(1)
  const device = new ReplaceableDevice(memoryDevice(memory))
  await expect(device.read(0n, 1)).rejects.toMatchObject({ code: 'BLOCK_CLOSED' })
  device.use(memoryDevice(memory))
  await device.write(0n, Uint8Array.of(7))
  device.withdraw(new Error('taken back'))
  for (const call of [device.read(0n, 1), device.write(0n, Uint8Array.of(1)), device.flush()])
    await expect(call).rejects.toThrow('taken back')
  device.use(memoryDevice(memory))
  expect(await device.read(0n, 2)).toEqual(Uint8Array.of(7, 1))
  expect(() => device.use(memoryDevice(new Uint8Array(4096)))).toThrow(RangeError)
})
