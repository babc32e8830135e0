import { expect, test } from 'vitest'
import { threeCopies as copies, idsOf } from '#core/data/copies.fixture.ts'
import { orderCopies } from './order-copies.ts'

test('the worst places come first, and the other way round last', () => {
  expect(idsOf(orderCopies(copies, { by: 'Where', descending: false }))).toBe('bac')
  expect(idsOf(orderCopies(copies, { by: 'Where', descending: true }))).toBe('cab')
})
