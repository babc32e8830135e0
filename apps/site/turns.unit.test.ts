import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { asOne, createBeat, createTurns } from './turns.ts'

test('so many work at a time, and whoever asked first is first', async () => {
  const turns = createTurns(2)
  const begun: number[] = []
  const ends = Array.from({ length: 5 }, () => Promise.withResolvers<void>())
  const all = ends.map(async ({ promise }, index) =>
    turns.take(async () => {
      begun.push(index)
      await promise
      return index
    }),
  )
  await Promise.resolve()
  expect([begun, turns.waiting()]).toEqual([[0, 1], 3])
  ends[1]?.resolve()
  await all[1]
  expect([begun, turns.waiting()]).toEqual([[0, 1, 2], 2])
  for (const { resolve } of ends) resolve()
  expect(await Promise.all(all)).toEqual([0, 1, 2, 3, 4])
  expect(begun).toEqual([0, 1, 2, 3, 4])
  expect(turns.waiting()).toBe(0)
})

test('work that fails gives its turn to the next', async () => {
  const turns = createTurns(1)
  const failed = turns.take(async () => Promise.reject(new Error('no')))
  const after = turns.take(async () => 'done')
  await expect(failed).rejects.toThrow('no')
  expect(await after).toBe('done')
})

test('what is asked while an answer is under way is asked at once', async () => {
  const asked: (readonly string[])[] = []
  const gates = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const lengthOf = asOne(async (keys: readonly string[]) => {
    asked.push(keys)
    await gates[asked.length - 1]?.promise
    return new Map(keys.filter((key) => key !== '').map((key) => [key, key.length]))
  })
  const first = lengthOf('one')
  await Promise.resolve()
  await Promise.resolve()
  const others = ['three', 'one', 'three', ''].map(async (key) => lengthOf(key))
  expect(asked).toEqual([['one']])
  for (const { resolve } of gates) resolve()
  expect(await Promise.all([first, ...others])).toEqual([3, 5, 3, 5, undefined])
  expect(asked).toEqual([['one'], ['three', 'one', '']])
})

test('one question that fails does not spoil the next', async () => {
  let tries = 0
  const ask = asOne(async (keys: readonly number[]) => {
    if (tries++ === 0) throw new Error('away')
    return new Map(keys.map((key) => [key, key]))
  })
  await expect(ask(1)).rejects.toThrow('away')
  expect(await ask(2)).toBe(2)
})

test('on a beat the first goes on at once, and whoever comes soon after it together with the others, in order', async () => {
  const together = createBeat(500)
  const gone: string[] = []
  const come = (name: string) => void together().then(() => gone.push(name))
  come('first')
  await Promise.resolve()
  for (const name of ['a', 'b', 'c']) come(name)
  await sleep(1)
  expect(gone).toEqual(['first'])
  await together()
  expect(gone).toEqual(['first', 'a', 'b', 'c'])
  await sleep(510)
  come('alone')
  await Promise.resolve()
  await Promise.resolve()
  expect(gone.at(-1)).toBe('alone')
})
