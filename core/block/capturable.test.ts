import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Capture, capturable, type PieceContent, pieceBlocks, pieceCount } from './capturable.ts'
import { memorySlots } from './memory-slots.ts'
import { type SlotStore, slotBytes } from './slot-store.ts'

/** Eight whole pieces and a part of one. */
const blocks = 8 * pieceBlocks + 10
const roomy = blocks * slotBytes

function blockOf(value: number): Uint8Array {
  return new Uint8Array(new Uint32Array(slotBytes / 4).fill(value).buffer)
}

/** What a block holds: its value, 0 for zeros, undefined for nothing. */
type Held = Map<number, number | undefined>

function apply(state: Held, piece: number, { runs, data }: PieceContent): void {
  const values = new Uint32Array(data.slice().buffer)
  let [block, at] = [piece * pieceBlocks, 0]
  for (const { kind, count } of runs)
    for (let index = 0; index < count; index++) {
      const value = kind === 'data' ? values[(at++ * slotBytes) / 4] : kind === 'zero' ? 0 : undefined
      if (kind === 'data')
        expect(
          values.subarray(((at - 1) * slotBytes) / 4, (at * slotBytes) / 4).every((one) => one === value),
        ).toBe(true)
      state.set(block++, value)
    }
}

async function readAll(capture: Capture, state: Held): Promise<void> {
  for (let next = await capture.read(); next !== undefined; next = await capture.read())
    apply(state, next.piece, next.content)
}

test('what is captured is what was there at that moment, and what is written meanwhile waits for the next time', async () => {
  await using slots = capturable(memorySlots(blocks, roomy), blocks)
  await slots.write(1, blockOf(11))
  await slots.write(pieceBlocks, blockOf(22))
  expect(slots.changed).toBe(2)
  const state: Held = new Map()
  {
    await using capture = slots.capture(memorySlots(blocks, roomy))
    expect(slots.changed).toBe(0)
    await slots.write(1, blockOf(33))
    await slots.zero(pieceBlocks, 1)
    await slots.write(blocks - 1, blockOf(44))
    expect(capture.left).toBe(2)
    await readAll(capture, state)
    capture.done()
  }
  expect([state.get(0), state.get(1), state.get(pieceBlocks), state.get(blocks - 1)]).toEqual([
    undefined,
    11,
    22,
    undefined,
  ])
  expect(slots.changed).toBe(3)
})

test('what was captured and not done with counts as changed', async () => {
  await using slots = capturable(memorySlots(blocks, roomy), blocks)
  await slots.write(0, blockOf(1))
  {
    await using capture = slots.capture(memorySlots(blocks, roomy))
    await capture.read()
  }
  expect(slots.changed).toBe(1)
})

test('without room aside a capture is abandoned, and nobody who writes hears of it', async () => {
  await using slots = capturable(memorySlots(blocks, roomy), blocks)
  await slots.write(0, new Uint8Array(4 * slotBytes).fill(1))
  await slots.write(pieceBlocks, blockOf(2))
  {
    await using capture = slots.capture(memorySlots(blocks, 3 * slotBytes))
    await slots.write(0, blockOf(3))
    expect(new Uint32Array((await slots.read(0, 1)).buffer)[0]).toBe(3)
    await expect(capture.read()).rejects.toMatchObject({
      code: 'OVERLAY_CAPTURE_ABANDONED',
      remedy: expect.any(String),
    })
    capture.done()
  }
  expect(slots.changed).toBe(2)
})

test('a trim of a disk of 16 GiB while it is captured costs no more than its pieces', async () => {
  const many = 2 ** 22
  await using slots = capturable(memorySlots(many, roomy), many)
  await slots.zero(0, many)
  await slots.write(5, blockOf(1))
  expect(slots.changed).toBe(pieceCount(many))
  await using capture = slots.capture(memorySlots(many, roomy))
  await slots.zero(pieceBlocks, many - pieceBlocks)
  expect(capture.left).toBe(pieceCount(many))
  expect(await capture.read()).toMatchObject({ content: { runs: [{ kind: 'zero', count: pieceBlocks }] } })
})

/** Answers later, and in another order than it was asked. */
function hesitant(slots: SlotStore, delays: readonly number[]): SlotStore {
  let calls = 0
  const wait = async (): Promise<void> => {
    for (let turns = delays[calls++ % delays.length] ?? 0; turns > 0; turns--) await Promise.resolve()
  }
  const slow: SlotStore = {
    isKept: slots.isKept,
    run: (block, most) => slots.run(block, most),
    read: async (block, count) => {
      // Whatever is written meanwhile is seen or not.
      await wait()
      const bytes = await slots.read(block, count)
      await wait()
      return bytes
    },
    write: async (block, bytes) => {
      await wait()
      await slots.write(block, bytes)
      await wait()
    },
    zero: async (block, count) => {
      await wait()
      await slots.zero(block, count)
    },
    flush: () => slots.flush(),
    [Symbol.asyncDispose]: () => slots[Symbol.asyncDispose](),
  }
  return slow
}

/** One of the first blocks of a piece, so that they are written again and again. */
const someBlock = fc
  .record({ piece: fc.nat(8), at: fc.nat(1) })
  .map(({ piece, at }) => piece * pieceBlocks + at)

/** More than a piece. */
const zeroed = pieceBlocks + 2

const act = fc.oneof(
  { weight: 9, arbitrary: fc.record({ kind: fc.constant('write' as const), block: someBlock }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('zero' as const), block: someBlock }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('capture' as const), block: fc.constant(0) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('pause' as const), block: fc.nat(25) }) },
)

test('whoever applies captures one after the other has the disk of each of their moments', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(act, { maxLength: 150, size: 'max' }),
      fc.array(fc.nat(9), { minLength: 1, maxLength: 20 }),
      async (acts, delays) => {
        await using slots = capturable(hesitant(memorySlots(blocks, roomy), delays), blocks)
        const replica: Held = new Map()
        /** What each block may hold: what was answered last, and what is under way. */
        const answered: Held = new Map()
        const underWay = new Map<number, Set<number>>()
        const running: Promise<void>[] = []
        let captured: Promise<void> | undefined
        let value = 0
        const change = async (block: number, count: number, next: number, work: () => Promise<void>) => {
          for (let at = block; at < block + count; at++)
            underWay.set(at, (underWay.get(at) ?? new Set()).add(next))
          await work()
          for (let at = block; at < block + count; at++) {
            answered.set(at, next)
            underWay.get(at)?.delete(next)
          }
        }
        const capture = async (): Promise<void> => {
          const before = new Map(answered)
          const open = new Map([...underWay].map(([block, values]) => [block, new Set(values)]))
          await using one = slots.capture(hesitant(memorySlots(blocks, roomy), delays))
          await Promise.all([readAll(one, replica), readAll(one, replica)])
          one.done()
          for (let block = 0; block < blocks; block++) {
            const may = [before.get(block), ...(open.get(block) ?? [])]
            expect(may).toContain(replica.get(block))
          }
        }
        const busy = (block: number, count: number): boolean =>
          Array.from({ length: count }, (_, at) => underWay.get(block + at)?.size ?? 0).some(Boolean)
        for (const { kind, block } of acts) {
          const next = ++value
          if (kind === 'write' && !busy(block, 1))
            running.push(change(block, 1, next, () => slots.write(block, blockOf(next))))
          if (kind === 'zero' && block + zeroed <= blocks && !busy(block, zeroed))
            running.push(change(block, zeroed, 0, () => slots.zero(block, zeroed)))
          if (kind === 'capture') {
            await captured
            captured = capture()
          }
          for (let turns = kind === 'pause' ? block : 0; turns > 0; turns--) await Promise.resolve()
        }
        await Promise.all([...running, captured])
        await capture()
        for (let block = 0; block < blocks; block++) expect(replica.get(block)).toBe(answered.get(block))
      },
    ),
    { numRuns: 30 },
  )
})
