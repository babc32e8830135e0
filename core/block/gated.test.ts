import { expect, test } from 'vitest'
import { gated } from './gated.ts'
import { memoryDevice } from './memory-device.fixture.ts'

test('a closed gate fails every call with its reason, and an open one is not there', async () => {
  const gate = new AbortController()
  const device = gated(memoryDevice(new Uint8Array(8192).fill(3)), gate.signal)
  expect([...(await device.read(1n, 2))]).toEqual([3, 3])
  await device.write?.(0n, Uint8Array.of(9))
  gate.abort(new Error('withdrawn'))
  for (const call of [
    device.read(0n, 1),
    device.extents(0n, 1),
    device.write?.(0n, Uint8Array.of(1)),
    device.flush?.(),
    device.trim?.(0n, 1),
    device.writeZeroes?.(0n, 1),
  ]) {
    await expect(call).rejects.toThrow('withdrawn')
  }
})

test('a device that cannot be written cannot be written through a gate', () => {
  const device = gated(memoryDevice(new Uint8Array(8192), false), new AbortController().signal)
  expect('write' in device).toBe(false)
})
