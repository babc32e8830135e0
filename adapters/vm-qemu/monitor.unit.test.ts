import { duplexPair } from 'node:stream'
import { afterEach, expect, test, vi } from 'vitest'
import { Monitor } from './monitor.ts'

afterEach(() => {
  vi.useRealTimers()
})

test('a VM that answers only when its disk is back is asked again then', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const [ours, qemu] = duplexPair()
  let isAway = false
  const late: number[] = []
  const answer = (id: number): void => void qemu.write(`${JSON.stringify({ return: {}, id })}\n`)
  qemu.on('data', (line: Buffer) => {
    const { id } = JSON.parse(line.toString()) as { id: number }
    if (isAway) late.push(id)
    else answer(id)
  })
  const monitor = await Monitor.open(ours)
  isAway = true
  const paused = monitor.pause().catch((error: unknown) => error)
  await vi.advanceTimersByTimeAsync(30_000)
  await expect(paused).resolves.toMatchObject({ code: 'VM_SILENT' })
  isAway = false
  for (const id of late) answer(id)
  await monitor.continue()
})
