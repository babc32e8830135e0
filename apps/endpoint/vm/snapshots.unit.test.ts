import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import {
  forgetOverlay,
  listSnapshots,
  type OverlayPlace,
  overlayPlace,
  recoverOverlay,
  removeSnapshot,
  returnToSnapshot,
  takeSnapshot,
} from './snapshots.ts'

let folder: string
let place: OverlayPlace
const now = new Date('2026-11-25T12:00:00Z')

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tc-snapshots-'))
  place = overlayPlace(folder, 'office', '1')
  await mkdir(place.dir, { recursive: true })
  await write('one')
})
afterEach(() => rm(folder, { recursive: true }))

test('a snapshot is what was there, and returning to it leaves nothing of what came after', async () => {
  await takeSnapshot(place, 'first', now)
  await write('two')
  await writeFile(join(place.dir, 'lock'), '')
  await takeSnapshot(place, 'second', new Date(now.getTime() + 1000))
  expect(await listSnapshots(place)).toEqual([
    { name: 'first', takenAt: now.toISOString(), sizeBytes: 6 },
    { name: 'second', takenAt: '2026-11-25T12:00:01.000Z', sizeBytes: 6 },
  ])
  await returnToSnapshot(place, 'first')
  expect(await read()).toEqual(['one', 'one'])
  expect((await readdir(place.dir)).toSorted()).toEqual(['data', 'journal'])
  await returnToSnapshot(place, 'second')
  expect(await read()).toEqual(['two', 'two'])
  await removeSnapshot(place, 'second')
  expect((await listSnapshots(place)).map(({ name }) => name)).toEqual(['first'])
  await forgetOverlay(place)
  expect(await listSnapshots(place)).toEqual([])
})

test.each([
  ['a name that is taken', (at: OverlayPlace) => takeSnapshot(at, 'first', now), 'SNAPSHOT_EXISTS'],
  ['a name that is none', (at: OverlayPlace) => takeSnapshot(at, '../first', now), 'SNAPSHOT_BAD_NAME'],
  ['what does not exist', (at: OverlayPlace) => returnToSnapshot(at, 'other'), 'SNAPSHOT_UNKNOWN'],
  ['what leads elsewhere', (at: OverlayPlace) => removeSnapshot(at, '..'), 'SNAPSHOT_BAD_NAME'],
] as const)('%s is refused', async (_, act, code) => {
  await takeSnapshot(place, 'first', now)
  await expect(act(place)).rejects.toMatchObject({ code })
  expect(await read()).toEqual(['one', 'one'])
})

test('wherever a return was interrupted, the overlay is one of the two', async () => {
  await takeSnapshot(place, 'first', now)
  await write('two')
  // Between the two steps that exchange them.
  await rename(place.dir, join(place.snapshots, '.before'))
  await recoverOverlay(place)
  expect(await read()).toEqual(['two', 'two'])
  // After them, before the old one was removed.
  await mkdir(join(place.snapshots, '.before'))
  await mkdir(join(place.snapshots, '.draft'))
  await recoverOverlay(place)
  expect(await read()).toEqual(['two', 'two'])
  expect((await readdir(place.snapshots)).toSorted()).toEqual(['first'])
})

test('what cannot be copied leaves nothing of the copy, and the overlay open as it was', async () => {
  await takeSnapshot(place, 'first', now)
  await write('two')
  // As when the device is full after the first of the two.
  await rm(join(place.snapshots, 'first', 'journal'))
  let isClosed = false
  const close = async (): Promise<void> => {
    isClosed = true
  }
  await expect(returnToSnapshot(place, 'first', close)).rejects.toMatchObject({ code: 'ENOENT' })
  await rm(join(place.dir, 'journal'))
  await expect(takeSnapshot(place, 'second', now)).rejects.toMatchObject({ code: 'ENOENT' })
  expect([isClosed, await readdir(place.snapshots)]).toEqual([false, ['first']])
})

async function write(text: string): Promise<void> {
  for (const file of ['data', 'journal']) await writeFile(join(place.dir, file), text)
}

async function read(): Promise<readonly string[]> {
  return Promise.all(['data', 'journal'].map((file) => readFile(join(place.dir, file), 'utf8')))
}
