import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { coalesced } from './coalesced.ts'

test('what is asked while work runs makes it run once more, not once for each', async () => {
  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  let runs = 0
  const { ask } = coalesced(
    async () => gates[runs++]?.promise,
    () => expect.unreachable(),
  )
  for (let i = 0; i < 3; i++) ask()
  await turn()
  expect(runs).toBe(1)
  gates[0]?.resolve()
  gates[1]?.resolve()
  await turn()
  expect(runs).toBe(2)
})

test('work that fails for any reason is told and tried again until it succeeds', async () => {
  const failures: unknown[] = []
  const done = Promise.withResolvers<void>()
  const { ask } = coalesced(
    async () => {
      if (failures.length < 2) throw new Error(`failure ${failures.length}`)
      done.resolve()
    },
    (error) => failures.push(error),
    1,
  )
  ask()
  await done.promise
  expect(failures).toHaveLength(2)
})

test('nothing is tried again after the stop', async () => {
  let runs = 0
  const { ask, stop } = coalesced(
    async () => {
      runs++
      throw new Error('always')
    },
    () => stop(),
    1,
  )
  ask()
  await turn()
  ask()
  await turn()
  expect(runs).toBe(1)
})
