import { randomFillSync } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { slotBytes } from '#core/block/slot-store.ts'
import type { FileSlots } from './file-slots.ts'
import { type OpenFolderOptions, openFolder } from './open-slots.ts'
import { FragileFolder, PowerLost } from './power-loss.fixture.ts'
import { sealedBytes } from './slot-cipher.ts'

const blocks = 24
const options: OpenFolderOptions = {
  blocks,
  key: new Uint8Array(32).fill(7),
  base: 'image 1',
  random: (bytes) => void randomFillSync(bytes),
  shortEntries: 40,
  // So few slots that those of overtaken blocks are needed again at once.
  maximumBytes: 40 * sealedBytes,
}

/** What may be found in a block: everything from the last flush on. */
class Expected {
  readonly #values: number[][] = Array.from({ length: blocks }, () => [-1])

  wrote(block: number, value: number): void {
    this.#values[block]?.push(value)
  }

  /** What a flush that begins now will have made certain. */
  snapshot(): readonly number[] {
    return this.#values.map((values) => values.length - 1)
  }

  flushed(certain: readonly number[]): void {
    for (const [block, from] of certain.entries())
      this.#certain[block] = Math.max(this.#certain[block] ?? 0, from)
  }

  readonly #certain: number[] = Array.from({ length: blocks }, () => 0)

  /** Says that a block is one of those it may be, and forgets the others. */
  found(block: number, value: number): void {
    const allowed = (this.#values[block] ?? []).slice(this.#certain[block] ?? 0)
    expect(allowed).toContain(value)
    this.#values[block] = [value]
    this.#certain[block] = 0
  }
}

/** -1: nothing is kept; 0: zeros; otherwise what fills it. */
async function valueOf(slots: FileSlots, block: number): Promise<number> {
  const { kind } = slots.run(block, 1)
  if (kind !== 'data') return kind === 'zero' ? 0 : -1
  const view = new DataView((await slots.read(block, 1)).buffer)
  const value = view.getUint32(0)
  for (let at = 0; at < slotBytes; at += 4) {
    if (view.getUint32(at) !== value) throw new Error(`block ${block} is torn`)
  }
  return value
}

/** What is found when an overlay is opened is certain from then on. */
async function look(slots: FileSlots, expected: Expected): Promise<void> {
  for (let block = 0; block < blocks; block++) expected.found(block, await valueOf(slots, block))
}

function filled(values: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(values.length * slotBytes))
  for (const [index, value] of values.entries()) {
    for (let at = 0; at < slotBytes; at += 4) view.setUint32(index * slotBytes + at, value)
  }
  return new Uint8Array(view.buffer)
}

async function work(
  slots: FileSlots,
  expected: Expected,
  chance: () => number,
  next: () => number,
): Promise<void> {
  for (;;) {
    const writes = Array.from({ length: 1 + Math.floor(chance() * 4) }, (_, index) => {
      const block = index * 6 + Math.floor(chance() * 4)
      const count = 1 + Math.floor(chance() * 3)
      const isZero = chance() < 0.2
      const values = Array.from({ length: count }, () => (isZero ? 0 : next()))
      for (const [index, value] of values.entries()) expected.wrote(block + index, value)
      return isZero ? slots.zero(block, count) : slots.write(block, filled(values))
    })
    // A flush beside writes makes certain only what was answered before.
    const certain = expected.snapshot()
    const settled = await Promise.allSettled(writes)
    const failed = settled.find((result) => result.status === 'rejected')
    if (failed) throw failed.reason
    if (chance() < 0.4) {
      const beside = next()
      const flush = slots.flush()
      expected.wrote(23, beside)
      await Promise.all([flush, slots.write(23, filled([beside]))])
      expected.flushed(certain)
    }
  }
}

test('what was flushed outlives the loss of power at any moment, and no block is torn or of another place', async () => {
  let rewritten = 0
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(260), { minLength: 1, maxLength: 6 }),
      fc.infiniteStream(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })),
      async (lives, chances) => {
        const chance = (): number => Number(chances.next().value)
        const expected = new Expected()
        let value = 1
        let folder = new FragileFolder(chance, lives[0] ?? 0)
        for (const steps of [...lives.slice(1), Number.POSITIVE_INFINITY]) {
          const replaced = folder.replaced
          try {
            const slots = await openFolder(folder, options)
            await look(slots, expected)
            await work(slots, expected, chance, () => value++)
          } catch (error) {
            requirePowerLost(error)
          }
          rewritten += folder.replaced - replaced
          if (chance() < 0.3 && steps < Number.POSITIVE_INFINITY) {
            folder = folder.afterKill(steps)
            continue
          }
          folder = folder.afterPowerLoss(steps)
          await look(await openFolder(folder.afterPowerLoss(Number.POSITIVE_INFINITY), options), expected)
        }
      },
    ),
    { numRuns: 40 },
  )
  // Else journals were never written anew, and nothing was said about that.
  expect(rewritten).toBeGreaterThan(20)
})

/** The store says in its own words that it can promise nothing; the cause is the power. */
function requirePowerLost(error: unknown): void {
  const isCause = error instanceof Error && error.cause instanceof PowerLost
  if (!(error instanceof PowerLost) && !isCause) throw error
}
