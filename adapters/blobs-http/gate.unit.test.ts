import { expect, test } from 'vitest'
import { Gate } from './gate.ts'

test('as many as there are places are inside; the others follow in order', async () => {
  const gate = new Gate(2)
  const order: number[] = []
  let inside = 0
  const visits = Array.from({ length: 9 }, (_, index) =>
    gate.run(async () => {
      order.push(index)
      expect(++inside).toBeLessThanOrEqual(2)
      await new Promise(setImmediate)
      inside--
      if (index === 3) throw new Error('stumbled')
    }),
  )
  const results = await Promise.allSettled(visits)
  expect(results.filter(({ status }) => status === 'rejected')).toHaveLength(1)
  expect(order).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8])
})

test('who no longer wants to wait goes at once and holds up nobody', async () => {
  const gate = new Gate(1)
  const { promise: left, resolve: leave } = Promise.withResolvers<undefined>()
  const first = gate.run(() => left)
  const abort = new AbortController()
  const second = gate.run(async () => expect.unreachable(), abort.signal)
  const third = gate.run(async () => 'third')
  abort.abort(new Error('enough'))
  await expect(second).rejects.toThrow('enough')
  leave(undefined)
  await first
  expect(await third).toBe('third')
  await expect(gate.run(async () => 1, abort.signal)).rejects.toThrow('enough')
})
