import { randomFillSync } from 'node:crypto'
import { expect, test } from 'vitest'
import { slotBytes } from '#core/block/slot-store.ts'
import type { FileSlots } from './file-slots.ts'
import { type OpenFolderOptions, openFolder } from './open-slots.ts'
import { FragileFolder } from './power-loss.fixture.ts'

const options: OpenFolderOptions = {
  blocks: 8,
  key: new Uint8Array(32).fill(7),
  base: 'image 1',
  random: (bytes) => void randomFillSync(bytes),
  shortEntries: 4,
}

/** Of what was not synced nothing is left when its power is lost. */
const newFolder = (): FragileFolder => new FragileFolder(() => 0.999, Number.POSITIVE_INFINITY)

async function write(slots: FileSlots, value: number): Promise<void> {
  await slots.write(0, new Uint8Array(slotBytes).fill(value))
  await slots.flush()
}

async function afterPowerLoss(folder: FragileFolder): Promise<number | undefined> {
  const slots = await openFolder(folder.afterPowerLoss(Number.POSITIVE_INFINITY), options)
  return (await slots.read(0, 1))[100]
}

/** Writes one value after the other until a flush fails. @returns the last one that was flushed */
async function writeUntilFull(slots: FileSlots, folder: FragileFolder, full: string): Promise<number> {
  const notDurable = { code: 'OVERLAY_NOT_DURABLE', cause: { code: 'ENOSPC' } }
  for (let value = 2; value < 40; value++) {
    folder.full = full
    const error: unknown = await write(slots, value).catch((error: unknown) => error)
    if (error === undefined) continue
    // Though the system says that all is well again.
    expect(error).toMatchObject(notDurable)
    await expect(slots.flush()).rejects.toMatchObject(notDurable)
    await expect(slots.zero(0, 1)).rejects.toMatchObject(notDurable)
    return value - 1
  }
  throw new Error('expected a flush to fail')
}

// So many that the journal is written anew at some of them.
const flushes = Array.from({ length: 12 }, (_, index) => index + 1)

test.each(['data', 'journal', '.'])(
  'a disk that is found to be full only when %j is synced ends what is promised, and what was flushed stays',
  async (full) => {
    for (const good of flushes) {
      const folder = newFolder()
      const slots = await openFolder(folder, options)
      for (let count = 0; count < good; count++) await write(slots, 1)
      const flushed = await writeUntilFull(slots, folder, full)
      expect(await afterPowerLoss(folder)).toBe(flushed)
    }
  },
)

test('what a journal could not make durable is so once it was opened again, and what is written then, too', async () => {
  for (const good of flushes) {
    const folder = newFolder()
    const slots = await openFolder(folder, options)
    for (let count = 0; count < good; count++) await write(slots, 1)
    await writeUntilFull(slots, folder, 'journal')
    const found = folder.afterKill(Number.POSITIVE_INFINITY)
    await write(await openFolder(found, options), 100)
    expect(await afterPowerLoss(found)).toBe(100)
  }
})

test('no room for a journal that is written anew does no harm', async () => {
  const folder = newFolder()
  const slots = await openFolder(folder, options)
  for (let value = 1; folder.replaced === 0; value++) {
    if (value === 1) folder.full = 'journal.next'
    await write(slots, value)
    expect(await afterPowerLoss(folder)).toBe(value)
  }
  expect(folder.full).toBeUndefined()
})
