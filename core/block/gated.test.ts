import { expect, test } from 'vitest'
import { gated } from './gated.ts'
import { memoryDevice, readyDevice } from './memory-device.fixture.ts'
import { memorySlots } from './memory-slots.ts'
import { observed } from './observed.ts'
import { overlay } from './overlay.ts'
import { sliced } from './sliced.ts'

test('a closed gate fails every call with its reason, and an open one is not there', async () => {
  const gate = new AbortController()
  const device = gated(readyDevice(new Uint8Array(8192).fill(3)), gate.signal)
  expect([...(await device.read(1n, 2))]).toEqual([3, 3])
  await device.write?.(0n, Uint8Array.of(9))
  expect(device.readNow?.(0, 2)).toEqual(Uint8Array.of(9, 3))
  gate.abort(new Error('withdrawn'))
  expect(device.readNow?.(0, 1)).toBeUndefined()
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

test('that somebody is done goes through all that a device is wrapped in', async () => {
  const done: number[] = []
  const device = {
    ...memoryDevice(new Uint8Array(8192)),
    done: ({ length }: Uint8Array) => void done.push(length),
  }
  const open = new AbortController().signal
  const wrapped = gated(
    observed(sliced(overlay(device, memorySlots(2, 8192)), 0n, 8192n), () => {}),
    open,
  )
  wrapped.done?.(await wrapped.read(0n, 100))
  expect(done).toEqual([100])
  // Put together of what was written and what was not: the overlay is done with its part at once.
  await wrapped.write?.(0n, new Uint8Array(4096))
  await wrapped.read(4000n, 1000)
  expect(done).toEqual([100, 904])
})
