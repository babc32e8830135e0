import { expect, test } from 'vitest'
import { endingRoles } from './ending.ts'
import { day, makeCast, makeRepository, start } from './release.fixture.ts'

test('what people signed is named when its time is nearly up, of the images that somebody is given', async () => {
  const repository = await makeRepository(makeCast())
  const ending = (images: readonly string[], days: number) =>
    endingRoles(repository, images, start + days * day).map(({ role }) => role)
  expect(ending(['debian', 'debian', 'unheard-of'], 90)).toEqual([])
  expect(ending(['debian', 'debian'], 91)).toEqual(['targets', 'debian'])
  expect(ending([], 91)).toEqual(['targets'])
  expect(endingRoles(repository, ['debian'], start + 366 * day)).toEqual([
    { role: 'root', endsAtMs: start + 365 * day },
    { role: 'targets', endsAtMs: start + 90 * day },
    { role: 'debian', endsAtMs: start + 90 * day },
  ])
})
