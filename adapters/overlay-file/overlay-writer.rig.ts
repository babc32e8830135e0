/**
 * A process that is killed: `overlay-writer.rig.ts FOLDER SEED` writes values, each greater than the last one, to random
 * blocks, and says what it did. `w BLOCK VALUE` before a write, `f VALUE` when all up to that value is flushed.
 */
import { randomFillSync } from 'node:crypto'
import { writeSync } from 'node:fs'
import { memoryDevice } from '#core/block/memory-device.fixture.ts'
import { overlay } from '#core/block/overlay.ts'
import { openKeptSlots } from './index.ts'
import { blockOf, blocks, firstValue, keptOptions } from './kept.rig.ts'

const [folder = '', first = ''] = process.argv.slice(2)
const random = (bytes: Uint8Array): void => void randomFillSync(bytes)
const slots = await openKeptSlots({ ...keptOptions, folder, random, shortEntries: 500 })
const disk = overlay(memoryDevice(new Uint8Array(blocks * 4096), false), slots)
let value = Number(first || firstValue)

for (;;) {
  const flushed = value
  const flush = Math.random() < 0.3 ? disk.flush?.().then(() => writeSync(1, `f ${flushed}\n`)) : undefined
  const chosen = new Set(Array.from({ length: 8 }, () => Math.floor(Math.random() * (blocks - 4))))
  let end = 0
  const writes = [...chosen]
    .toSorted((a, b) => a - b)
    .map(async (block) => {
      if (block < end) return
      const count = 1 + Math.floor(Math.random() * 3)
      end = block + count
      const bytes = new Uint8Array(count * 4096)
      for (let index = 0; index < count; index++) {
        value++
        writeSync(1, `w ${block + index} ${value}\n`)
        bytes.set(blockOf(value), index * 4096)
      }
      await disk.write?.(BigInt(block) * 4096n, bytes)
    })
  await Promise.all([...writes, flush])
}
