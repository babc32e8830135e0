import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createResource } from './resource.ts'

test('one request at a time: what is asked for meanwhile is one more afterwards', async () => {
  const open: ((answer: number | Error) => void)[] = []
  const { state, reload } = createResource(
    () =>
      new Promise<number>((resolve, reject) =>
        open.push((answer) => (typeof answer === 'number' ? resolve(answer) : reject(answer))),
      ),
  )
  for (let time = 0; time < 10; time++) reload()
  expect(open).toHaveLength(1)
  open[0]?.(1)
  await setImmediate()
  expect(state.get()).toEqual({ data: 1 })
  expect(open).toHaveLength(2)
  open[1]?.(new Error('away'))
  await setImmediate()
  // What was known stays, with what is wrong.
  expect(state.get()).toEqual({ data: 1, error: new Error('away') })
  expect(open).toHaveLength(2)
  reload()
  open[2]?.(3)
  await setImmediate()
  expect(state.get()).toEqual({ data: 3 })
})
