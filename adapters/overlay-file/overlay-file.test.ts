import { execFile, spawn } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import {
  copyFile,
  cp,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import * as fc from 'fast-check'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { blockDeviceContract } from '#core/block/block-device.contract.ts'
import { patternedDisk } from '#core/block/disk.fixture.ts'
import { memoryDevice } from '#core/block/memory-device.fixture.ts'
import { memorySlots } from '#core/block/memory-slots.ts'
import { overlay, overlayBlocks } from '#core/block/overlay.ts'
import type { SlotStore } from '#core/block/slot-store.ts'
import { spilledSlots } from '#core/block/spilled-slots.ts'
import { isCoded } from '#core/errors/coded-error.ts'
import { discardKept, openDiscardedSlots, openKeptSlots } from './index.ts'
import { blockOf, blocks, keptOptions, valueOf } from './kept.rig.ts'

const run = promisify(execFile)
const random = (bytes: Uint8Array): void => void randomFillSync(bytes)
const oddBytes = 77_777

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'overlay-'))
})
afterEach(() => rm(folder, { recursive: true }))

const openKept = (name = 'kept'): Promise<SlotStore> =>
  openKeptSlots({ ...keptOptions, folder: join(folder, name), random })

let made = 0
function overlayCase(name: string, openSlots: (blocks: number) => Promise<SlotStore>): void {
  blockDeviceContract({
    name,
    runs: 15,
    make: async () => {
      const content = patternedDisk(oddBytes)
      const slots = await openSlots(overlayBlocks(BigInt(oddBytes)))
      return { device: overlay(memoryDevice(content.slice(), false), slots), content }
    },
  })
}
overlayCase('a discarded overlay', (blocks) => openDiscardedSlots({ folder, blocks, random }))
overlayCase('a kept overlay', (blocks) =>
  openKeptSlots({ ...keptOptions, folder: join(folder, String(made++)), blocks, random, shortEntries: 8 }),
)
overlayCase('an overlay in memory that spills into a file', async (blocks) =>
  spilledSlots(memorySlots(blocks, 5 * 4096), await openDiscardedSlots({ folder, blocks, random })),
)

test('a discarded overlay leaves nothing behind, not even a name while it is open', async () => {
  await using slots = await openDiscardedSlots({ folder, blocks, random })
  await slots.write(0, blockOf(1))
  expect(await readdir(folder)).toEqual([])
})

test('kept overlays are discarded together, and none of them while one is open', async () => {
  const paths = ['ada/office/1', 'ada/office/2', 'nora/office/1']
  for (const path of paths) await (await openKept(path))[Symbol.asyncDispose]()
  const open = await openKept('ada/office/2')
  await open.write(0, blockOf(1))
  await expect(discardKept(join(folder, 'ada'))).rejects.toMatchObject({ code: 'OVERLAY_IN_USE' })
  await open.flush()
  await open[Symbol.asyncDispose]()
  expect((await readdir(join(folder, 'ada', 'office'))).toSorted()).toEqual(['1', '2'])
  // As often as it is said, and whoever was killed in the middle.
  await rm(join(folder, 'ada', 'office', '1', 'data'))
  for (let time = 0; time < 2; time++) await discardKept(join(folder, 'ada'))
  await discardKept(join(folder, 'nobody', 'ever'))
  expect(await readdir(folder)).toEqual(['nora'])
  expect((await readdir(join(folder, 'nora', 'office', '1'))).toSorted()).toEqual(['data', 'journal', 'lock'])
})

test('what lies behind a link does not count as discarded', async () => {
  const [there, away] = [join(folder, 'ada'), join(folder, 'bigger-disk')]
  await (await openKept('ada/office/1'))[Symbol.asyncDispose]()
  for (const moved of [there, join(there, 'office')]) {
    await rename(moved, away)
    await symlink(away, moved)
    await expect(discardKept(there)).rejects.toMatchObject({ code: 'OVERLAY_ELSEWHERE' })
    expect(await readdir(join(there, 'office', '1'))).toContain('data')
    await rm(moved)
    await rename(away, moved)
  }
  await discardKept(there)
  expect(await readdir(folder)).toEqual([])
})

test('the key of a discarded overlay is with the runtime only', async () => {
  const filled: Uint8Array[] = []
  const kept = (bytes: Uint8Array): void => {
    random(bytes)
    filled.push(bytes)
  }
  await using slots = await openDiscardedSlots({ folder, blocks, random: kept })
  const key = filled.find(({ length }) => length === 32)
  expect(key).toEqual(new Uint8Array(32))
  await slots.write(0, blockOf(1))
  expect(valueOf(await slots.read(0, 1))).toBe(1)
})

test('a kept overlay is found again, holes and all, and shows nothing of it on the disk', async () => {
  const secret = Buffer.alloc(4096, 'a sentence that must not be found on the disk ')
  {
    await using slots = await openKept()
    await slots.write(3, secret)
    await slots.zero(10, 20)
    await slots.write(12, blockOf(5))
    await slots.flush()
    await slots.write(3, secret)
  }
  {
    await using slots = await openKept()
    expect(Buffer.compare(await slots.read(3, 1), secret)).toBe(0)
    expect([slots.run(0, 64), slots.run(10, 54), slots.run(12, 52), slots.run(13, 51)]).toEqual([
      { kind: 'absent', count: 3 },
      { kind: 'zero', count: 2 },
      { kind: 'data', count: 1 },
      { kind: 'zero', count: 17 },
    ])
  }
  for (const name of await readdir(join(folder, 'kept'))) {
    const path = join(folder, 'kept', name)
    expect((await readFile(path)).includes('sentence')).toBe(false)
    expect((await stat(path)).mode & 0o077).toBe(0)
  }
})

/** All files of an overlay, to see that nothing was changed. */
async function bytesOf(name = 'kept'): Promise<Buffer[]> {
  return Promise.all(['data', 'journal', 'lock'].map((file) => readFile(join(folder, name, file))))
}

const openChanged = (change: object): Promise<SlotStore> =>
  openKeptSlots({ ...keptOptions, folder: join(folder, 'kept'), random, ...change })

test('another key, another base, another size and a short key are refused, each by its code', async () => {
  {
    await using slots = await openKept()
    await slots.write(3, blockOf(1))
  }
  const before = await bytesOf()
  await expect(openChanged({ key: new Uint8Array(32).fill(8) })).rejects.toMatchObject({
    code: 'OVERLAY_WRONG_KEY',
  })
  await expect(openChanged({ base: 'image 1.1' })).rejects.toMatchObject({ code: 'OVERLAY_OTHER_BASE' })
  await expect(openChanged({ blocks: 65 })).rejects.toMatchObject({ code: 'OVERLAY_OTHER_BASE' })
  await expect(openChanged({ key: new Uint8Array(16) })).rejects.toThrow('32 bytes')
  expect(await bytesOf()).toEqual(before)
  await using slots = await openKept()
  expect(valueOf(await slots.read(3, 1))).toBe(1)
})

test('two processes never open one overlay, and one that was killed does not stand in the way', async () => {
  await using writer = await startWriter(join(folder, 'kept'), 1)
  await writer.waitFor(1)
  await expect(openKept()).rejects.toMatchObject({ code: 'OVERLAY_IN_USE' })
  await writer.kill()
  const slots = await openKept()
  await expect(openKept()).rejects.toMatchObject({ code: 'OVERLAY_IN_USE' })
  await slots[Symbol.asyncDispose]()
  await (await openKept())[Symbol.asyncDispose]()
})

interface Writer extends AsyncDisposable {
  /** Resolves when it has said so much. */
  waitFor(flushes: number): Promise<void>
  /** Ends it with SIGKILL. @returns everything that it said */
  kill(): Promise<string>
}

async function startWriter(path: string, first: number): Promise<Writer> {
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, 'overlay-writer.rig.ts'), path, String(first)],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  const closed = once(child, 'close')
  const kill = async (): Promise<string> => {
    child.kill('SIGKILL')
    await closed
    return said
  }
  return {
    waitFor: async (flushes) => {
      while (said.split('f ').length <= flushes) {
        if (child.exitCode !== null) throw new Error('the writer ended')
        await sleep(5)
      }
    },
    kill,
    [Symbol.asyncDispose]: async () => void (await kill()),
  }
}

test('a process that is killed at any moment loses nothing that was flushed, and no block is torn', async () => {
  const path = join(folder, 'kept')
  let next = 1
  /** For each block the values that it may have. */
  const possible = Array.from({ length: blocks }, () => [0])
  for (let round = 0; round < 12; round++) {
    await using writer = await startWriter(path, next)
    await writer.waitFor(1)
    await sleep(Math.random() * 150)
    const lines = (await writer.kill()).split('\n').slice(0, -1)
    const flushed = Math.max(
      0,
      ...lines.filter((line) => line.startsWith('f')).map((line) => Number(line.slice(2))),
    )
    for (const line of lines.filter((line) => line.startsWith('w'))) {
      const [, block = 0, value = 0] = line.split(' ').map(Number)
      next = Math.max(next, value)
      if (value <= flushed) possible[block] = [value]
      else possible[block]?.push(value)
    }
    await using slots = await openKept()
    for (let block = 0; block < blocks; block++) {
      const isData = slots.run(block, 1).kind === 'data'
      const value = isData ? valueOf(await slots.read(block, 1)) : 0
      expect(possible[block]).toContain(value)
      possible[block] = [value ?? -1]
    }
  }
  expect(next).toBeGreaterThan(1000)
})

/** An overlay of three commits, the second of which changes the first. */
async function threeCommits(): Promise<void> {
  await using slots = await openKept('template')
  for (const value of [1, 2, 3]) {
    for (let block = value; block < 20; block += value) await slots.write(block, blockOf(value * 100 + block))
    await slots.zero(40 + value, 1)
    await slots.flush()
  }
}

/** What is kept of each block: a value, 0 for zeros, -1 for nothing; a code when it cannot be opened or read. */
async function contentOf(name: string): Promise<readonly (number | undefined)[] | string> {
  try {
    await using slots = await openKept(name)
    const values: (number | undefined)[] = []
    for (let block = 0; block < blocks; block++) {
      const { kind } = slots.run(block, 1)
      values.push(kind === 'data' ? valueOf(await slots.read(block, 1)) : kind === 'zero' ? 0 : -1)
    }
    return values
  } catch (error) {
    if (!isCoded(error)) throw error
    return error.code
  }
}

function afterCommits(count: number): readonly number[] {
  const values = Array.from({ length: blocks }, () => -1)
  for (let value = 1; value <= count; value++) {
    for (let block = value; block < 20; block += value) values[block] = value * 100 + block
    values[40 + value] = 0
  }
  return values
}

test('a journal that is cut off anywhere, or changed anywhere, shows a state that was flushed or is refused', async () => {
  await threeCommits()
  const whole = await readFile(join(folder, 'template', 'journal'))
  // Header, three batches of 512 to 1024 bytes, zeros.
  const used = 4096
  const states = [0, 1, 2, 3].map(afterCommits)
  const codes = new Set<string>()
  const edit = fc.record({
    at: fc.nat(used),
    value: fc.integer({ min: 1, max: 255 }),
    length: fc.constantFrom(1, 8, 700),
  })
  await fc.assert(
    fc.asyncProperty(fc.option(fc.nat(used)), fc.array(edit, { maxLength: 2 }), async (cut, edits) => {
      const bytes = Uint8Array.from(whole)
      for (const { at, value, length } of edits) {
        for (let index = at; index < at + length; index++) bytes[index] = (bytes[index] ?? 0) ^ value
      }
      const name = 'changed'
      await rm(join(folder, name), { recursive: true, force: true })
      await cp(join(folder, 'template'), join(folder, name), { recursive: true })
      await writeFile(join(folder, name, 'journal'), cut === null ? bytes : bytes.subarray(0, cut))
      const content = await contentOf(name)
      if (typeof content === 'string') codes.add(content)
      else expect(states).toContainEqual(content)
      if (cut === null && edits.length === 0) expect(content).toEqual(states[3])
    }),
    { numRuns: 150 },
  )
  const known = ['OVERLAY_FILES_DAMAGED', 'OVERLAY_WRONG_KEY', 'OVERLAY_OTHER_BASE']
  expect(known).toEqual(expect.arrayContaining([...codes]))
})

test('a commit that is damaged while later ones are whole is refused: what was flushed would be missing', async () => {
  await threeCommits()
  const path = join(folder, 'template', 'journal')
  const bytes = await readFile(path)
  const batches: number[] = []
  for (let at = 512; at < 8192; at += 512) if (bytes.readUInt32BE(at) !== 0) batches.push(at)
  expect(batches.length).toBe(3)
  for (const at of batches.slice(0, 2)) {
    const changed = Buffer.from(bytes)
    changed[at + 60] = (changed[at + 60] ?? 0) ^ 1
    await writeFile(path, changed)
    expect(await contentOf('template')).toBe('OVERLAY_FILES_DAMAGED')
  }
  const removed = Buffer.from(bytes)
  removed.fill(0, batches[1], batches[2])
  await writeFile(path, removed)
  expect(await contentOf('template')).toBe('OVERLAY_FILES_DAMAGED')
})

test('blocks that are altered, moved, put back or cut off are found when they are read', async () => {
  {
    await using slots = await openKept()
    for (const block of [0, 1, 2]) await slots.write(block, blockOf(block + 1))
    await slots.flush()
    await copyFile(join(folder, 'kept', 'data'), join(folder, 'old'))
    await slots.write(0, blockOf(50))
    await slots.flush()
  }
  const path = join(folder, 'kept', 'data')
  const good = await readFile(path)
  const sealed = 4124
  const old = await readFile(join(folder, 'old'))
  const edits: Record<string, (bytes: Buffer) => Buffer> = {
    altered: (bytes) => Object.assign(bytes, { [sealed + 2000]: (bytes[sealed + 2000] ?? 0) ^ 1 }),
    exchanged: (bytes) =>
      Buffer.concat([
        bytes.subarray(0, sealed),
        bytes.subarray(2 * sealed, 3 * sealed),
        bytes.subarray(sealed, 2 * sealed),
        bytes.subarray(3 * sealed),
      ]),
    'an older one of the same block': (bytes) =>
      Buffer.concat([bytes.subarray(0, 3 * sealed), old.subarray(0, sealed)]),
    'cut off': (bytes) => bytes.subarray(0, sealed + 100),
  }
  for (const [how, edit] of Object.entries(edits)) {
    await writeFile(path, edit(Buffer.from(good)))
    await using slots = await openKept()
    const codes: unknown[] = []
    for (const block of [0, 1, 2]) {
      const outcome = await slots.read(block, 1).catch((error: unknown) => error)
      if (outcome instanceof Uint8Array) expect(valueOf(outcome), how).toBe(block === 0 ? 50 : block + 1)
      else codes.push(isCoded(outcome) ? outcome.code : outcome)
    }
    expect(codes.length, how).toBeGreaterThan(0)
    expect(new Set(codes), how).toEqual(new Set(['OVERLAY_CORRUPT']))
  }
})

test('a journal or data file that is gone is noticed', async () => {
  {
    await using slots = await openKept()
    await slots.write(0, blockOf(1))
  }
  await rm(join(folder, 'kept', 'journal'))
  await expect(openKept()).rejects.toMatchObject({ code: 'OVERLAY_FILES_DAMAGED' })
  await threeCommits()
  await rm(join(folder, 'template', 'data'))
  await expect(openKept('template')).rejects.toMatchObject({ code: 'OVERLAY_FILES_DAMAGED' })
})

test('the journal is written anew when it has grown, and slots are used again', async () => {
  const options = { ...keptOptions, folder: join(folder, 'kept'), random, shortEntries: 200 }
  {
    await using slots = await openKeptSlots(options)
    for (let round = 1; round <= 400; round++) {
      await Promise.all([slots.write(0, blockOf(round)), slots.write(20, blockOf(round)), slots.zero(40, 3)])
      await slots.flush()
    }
  }
  expect((await stat(join(folder, 'kept', 'journal'))).size).toBeLessThan(300_000)
  await using slots = await openKeptSlots(options)
  expect([valueOf(await slots.read(0, 1)), valueOf(await slots.read(20, 1))]).toEqual([400, 400])
  expect(slots.run(40, 10)).toEqual({ kind: 'zero', count: 3 })
})

async function smallFileSystem(): Promise<AsyncDisposable & { path: string }> {
  const path = join(folder, 'small')
  await mkdir(path)
  await run('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', path])
  return { path, [Symbol.asyncDispose]: async () => void (await run('umount', [path])) }
}

test.each(['keep', 'discard'] as const)(
  '%s: without room a write is refused, and all that was answered stays',
  async (mode) => {
    await using small = await smallFileSystem()
    const sizeBytes = 16 << 20
    const count = overlayBlocks(BigInt(sizeBytes))
    const path = join(small.path, 'overlay')
    const openSlots = (): Promise<SlotStore> =>
      mode === 'keep'
        ? openKeptSlots({ ...keptOptions, blocks: count, folder: path, random })
        : openDiscardedSlots({ folder: path, blocks: count, random })
    const base = (): ReturnType<typeof memoryDevice> => memoryDevice(new Uint8Array(sizeBytes), false)
    const answered = new Map<number, number>()
    const refused = new Set<unknown>()
    {
      await using disk = overlay(base(), await openSlots())
      const write = async (block: number, value: number): Promise<void> => {
        try {
          await disk.write?.(BigInt(block) * 4096n, blockOf(value))
          answered.set(block, value)
        } catch (error) {
          refused.add(isCoded(error) ? error.code : error)
        }
      }
      for (let block = 0; block < count; block += 16) {
        await Promise.all(Array.from({ length: 16 }, (_, index) => write(block + index, block + index + 1)))
      }
      expect(refused).toEqual(new Set(['OVERLAY_FULL']))
      expect(answered.size).toBeGreaterThan(500)
      await disk.flush?.()
      for (const [block, value] of answered)
        expect(valueOf(await disk.read(BigInt(block) * 4096n, 4096))).toBe(value)
      // What is given back can be used again, at once or after the next flush.
      await disk.trim?.(0n, 4096 * 32)
      await write(4000, 7)
      expect(answered.get(4000)).toBe(7)
      for (let block = 0; block < 32; block++) answered.delete(block)
    }
    if (mode === 'discard') return
    await using disk = overlay(base(), await openSlots())
    for (const [block, value] of answered)
      expect(valueOf(await disk.read(BigInt(block) * 4096n, 4096))).toBe(value)
  },
)

test('a limit of its own counts like a full disk', async () => {
  await using slots = await openDiscardedSlots({ folder, blocks, random, maximumBytes: 10 * 4124 })
  await slots.write(0, new Uint8Array(10 * 4096))
  await expect(slots.write(20, blockOf(1))).rejects.toMatchObject({ code: 'OVERLAY_FULL' })
  await slots.zero(3, 1)
  await slots.write(20, blockOf(1))
  expect(valueOf(await slots.read(20, 1))).toBe(1)
})

test('a file that is cut off behind its back is an error of the block, not of the process', async () => {
  await using slots = await openKept()
  await slots.write(0, blockOf(1))
  await truncate(join(folder, 'kept', 'data'), 0)
  await expect(slots.read(0, 1)).rejects.toMatchObject({ code: 'OVERLAY_CORRUPT' })
  await slots.write(0, blockOf(2))
  expect(valueOf(await slots.read(0, 1))).toBe(2)
  await using _ = await open(join(folder, 'kept', 'data'))
})
