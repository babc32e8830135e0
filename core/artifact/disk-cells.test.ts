import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ChunkChange } from './diff-images.ts'
import { diskCells } from './disk-cells.ts'

test('a part shows the strongest of what happened in it', () => {
  const cells = diskCells(800, 4)
  cells.mark(0, 100, 'same')
  cells.mark(100, 100, 'changed')
  cells.mark(200, 100, 'empty')
  cells.mark(300, 100, 'same')
  cells.mark(400, 100, 'same')
  cells.mark(500, 100, 'cleared')
  expect(cells.text()).toBe('csz.')
})

test('a chunk that is larger than a part fills all that it touches', () => {
  const cells = diskCells(3, 8)
  cells.mark(1, 1, 'changed')
  expect(cells.text()).toBe('..cccc..')
})

test('for any disk there is a letter for each part, and what changed is never lost', () => {
  const changes = fc.array(fc.constantFrom<ChunkChange>('same', 'changed', 'cleared', 'empty'), {
    minLength: 1,
    maxLength: 200,
  })
  fc.assert(
    fc.property(
      changes,
      fc.integer({ min: 1, max: 2 ** 32 }),
      fc.integer({ min: 1, max: 600 }),
      (all, chunk, count) => {
        const cells = diskCells(all.length * chunk, count)
        all.forEach((change, number) => cells.mark(number * chunk, chunk, change))
        expect(cells.text()).toMatch(new RegExp(`^[scz.]{${count}}$`))
        expect(cells.text().includes('c')).toBe(all.includes('changed'))
      },
    ),
  )
})
