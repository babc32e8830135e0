import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openFloors } from './floors.ts'

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'floors-'))
})
afterEach(() => rm(dir, { recursive: true }))

test('a floor is 0, and then as high as it was ever raised', async () => {
  const floors = await openFloors(dir)
  expect(await floors.get('debian')).toBe(0)
  await floors.raise('debian', 3)
  await floors.raise('debian', 2)
  await floors.raise('ubuntu', 1)
  const again = await openFloors(dir)
  expect(await again.get('debian')).toBe(3)
  expect(await again.get('ubuntu')).toBe(1)
  expect(Object.fromEntries(await again.all())).toEqual({ debian: 3, ubuntu: 1 })
  expect(await readdir(dir)).toHaveLength(2)
})

test('raising it from many sides at once never lowers it', async () => {
  const all = await Promise.all([openFloors(dir), openFloors(dir), openFloors(dir)])
  const counters = Array.from({ length: 60 }, (_, index) => ((index * 37) % 60) + 1)
  await Promise.all(counters.map(async (counter, index) => all[index % 3]?.raise('debian', counter)))
  expect(await (await openFloors(dir)).get('debian')).toBe(60)
})

test('other files in the folder mean nothing', async () => {
  const floors = await openFloors(dir)
  for (const file of ['debian@', 'debian@-1', 'debian@x', 'debian@1.5', 'debian'])
    await writeFile(join(dir, file), '')
  expect(await floors.get('debian')).toBe(0)
  expect(await floors.all()).toEqual([])
  await expect(floors.raise('../debian', 1)).rejects.toThrow(RangeError)
  await expect(floors.raise('debian', 0)).rejects.toThrow(RangeError)
})
