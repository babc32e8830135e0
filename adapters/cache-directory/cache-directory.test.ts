import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import * as fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { contentOf, entryBytes, nameOf } from './entries.fixture.ts'
import { type CacheDirectory, type CacheDirectoryStats, openCacheDirectory } from './index.ts'
import { fileOf, pathOf } from './layout.ts'

const run = promisify(execFile)
const writer = join(import.meta.dirname, 'cache-writer.rig.ts')
const MiB = 1_048_576
/** What an entry of `contentOf` takes. */
const diskBytes = 40_960

let folder: string
let dir: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cache-'))
  dir = join(folder, 'cache')
})
afterEach(() => rm(folder, { recursive: true, force: true }))

function open(maximumBytes = 100 * MiB): CacheDirectory {
  return openCacheDirectory({ dir, maximumBytes })
}

/** Opens a cache of some entries that were put before. */
async function reopened(numbers: readonly number[], maximumBytes?: number): Promise<CacheDirectory> {
  {
    await using cache = open(maximumBytes)
    for (const number of numbers) cache.put(nameOf(number), contentOf(number))
  }
  return open(maximumBytes)
}

async function has(cache: CacheDirectory, number: number): Promise<boolean> {
  const bytes = await cache.get(nameOf(number))
  if (bytes !== undefined) expect(Buffer.compare(bytes, contentOf(number))).toBe(0)
  return bytes !== undefined
}

async function present(cache: CacheDirectory, numbers: readonly number[]): Promise<number[]> {
  const found = await Promise.all(numbers.map((number) => has(cache, number)))
  return numbers.filter((_, index) => found[index])
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index)
}

const written = (cache: CacheDirectory) =>
  vi.waitUntil(() => cache.stats().pendingBytes === 0, { timeout: 20_000, interval: 5 })

function hoursAgo(hours: number): Date {
  return new Date(Date.now() - hours * 3_600_000)
}

/** All files, as paths from the directory. */
async function files(): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
}

async function bytesOnDisk(): Promise<number> {
  const stats = await Promise.all((await files()).map((path) => stat(path)))
  return stats.reduce((sum, { size }) => sum + Math.ceil(size / 4096) * 4096, 0)
}

test('what was put is found at once, and by the next process', async () => {
  {
    await using cache = open()
    for (const number of upTo(50)) cache.put(nameOf(number), contentOf(number))
    expect(cache.stats()).toMatchObject({ pendingBytes: 50 * (entryBytes + 8), kept: 0 })
    expect(await present(cache, upTo(60))).toEqual(upTo(50))
    await written(cache)
    expect(await present(cache, upTo(60))).toEqual(upTo(50))
    expect(cache.stats()).toEqual({
      entries: 50,
      bytes: 50 * diskBytes,
      pendingBytes: 0,
      hits: 100,
      misses: 20,
      kept: 50,
      refused: 0,
      evicted: 0,
      damaged: 0,
      failure: undefined,
    } satisfies CacheDirectoryStats)
  }
  await using cache = open()
  // Before and after the directory was looked at.
  expect(await present(cache, upTo(60))).toEqual(upTo(50))
  await vi.waitUntil(() => cache.stats().entries === 50)
  expect(cache.stats()).toMatchObject({ bytes: 50 * diskBytes, hits: 50, misses: 10 })
  for (const path of [dir, dirname((await files())[0]!)]) expect((await stat(path)).mode & 0o777).toBe(0o700)
  for (const path of await files()) expect((await stat(path)).mode & 0o777).toBe(0o600)
})

test('all that was put is written, and on the disk, once it is synced', async () => {
  await using cache = open()
  expect(await cache.sync()).toBe(false)
  for (const number of upTo(50)) cache.put(nameOf(number), contentOf(number))
  expect(await cache.sync()).toBe(true)
  expect(cache.stats()).toMatchObject({ pendingBytes: 0, kept: 50, refused: 0 })
})

test('bytes are taken before put returns, and the last that were put count', async () => {
  await using cache = open()
  const bytes = contentOf(1)
  cache.put('a', bytes)
  bytes.fill(0)
  expect(Buffer.from((await cache.get('a'))!)).toEqual(contentOf(1))
  for (let round = 0; round < 20; round++) {
    cache.put('b', contentOf(round))
    if (round % 3 === 0) await cache.get('a')
  }
  expect(Buffer.from((await cache.get('b'))!)).toEqual(contentOf(19))
  await written(cache)
  expect(Buffer.from((await cache.get('b'))!)).toEqual(contentOf(19))
  cache.put('none', new Uint8Array(0))
  await written(cache)
  expect(await cache.get('none')).toEqual(Buffer.alloc(0))
})

test('what was dropped is gone, also while it is written', async () => {
  await using cache = open()
  for (const number of upTo(40)) cache.put(nameOf(number), contentOf(number))
  for (const number of upTo(20)) {
    cache.drop(nameOf(number))
    await cache.get('a.name.that.nobody.put')
  }
  await written(cache)
  cache.drop(nameOf(39))
  await cache[Symbol.asyncDispose]()
  await using again = open()
  expect(await present(again, upTo(40))).toEqual(upTo(39).slice(20))
})

test('the bound is kept, and what was used last stays', async () => {
  const maximumBytes = 100 * diskBytes
  await using cache = open(maximumBytes)
  for (const number of upTo(100)) cache.put(nameOf(number), contentOf(number))
  await written(cache)
  expect(cache.stats().bytes).toBe(maximumBytes)
  expect(await present(cache, upTo(20))).toEqual(upTo(20))
  for (let number = 100; number < 150; number++) {
    cache.put(nameOf(number), contentOf(number))
    await written(cache)
    expect(cache.stats().bytes).toBeLessThanOrEqual(maximumBytes)
    expect(await bytesOnDisk()).toBeLessThanOrEqual(maximumBytes)
  }
  const left = await present(cache, upTo(150))
  expect(left.slice(0, 20)).toEqual(upTo(20))
  expect(left.slice(20).every((number) => number >= 70)).toBe(true)
  expect(left.length).toBeGreaterThan(95)
})

test('what earlier processes used longest ago is evicted first, and a lower bound is kept from the start', async () => {
  await (await reopened(upTo(60)))[Symbol.asyncDispose]()
  for (const number of upTo(60))
    await utimes(pathOf(dir, fileOf(nameOf(number))), hoursAgo(number + 1), hoursAgo(number + 1))
  // A use is written to the file.
  await using used = open()
  expect(await has(used, 59)).toBe(true)
  await vi.waitFor(async () => {
    const { mtimeMs } = await stat(pathOf(dir, fileOf(nameOf(59))))
    expect(mtimeMs).toBeGreaterThan(hoursAgo(1).getTime())
  })
  await using cache = open(20 * diskBytes)
  await vi.waitUntil(() => cache.stats().evicted > 0 && cache.stats().bytes <= 20 * diskBytes)
  await cache[Symbol.asyncDispose]()
  await using again = open()
  expect(await present(again, upTo(60))).toEqual([...upTo(18), 59])
})

describe('a file that is not what was written', () => {
  const damages: Readonly<Record<string, (path: string) => Promise<void>>> = {
    'is cut off': (path) => truncate(path, 5000),
    'is empty': (path) => truncate(path, 0),
    'is longer': (path) => appendFile(path, 'x'),
    'is far too long': (path) => truncate(path, 50_000_000),
    'has a bit altered': async (path) => {
      const bytes = await readFile(path)
      bytes[20_000]! ^= 4
      await writeFile(path, bytes)
    },
    'is zeros from somewhere on': async (path) => writeFile(path, (await readFile(path)).fill(0, 8192)),
    'is another entry': async (path) => writeFile(path, await readFile(pathOf(dir, fileOf(nameOf(2))))),
  }
  test.each(Object.entries(damages))('%s: it is not there, removed, and kept anew', async (_, damage) => {
    await using cache = await reopened([1, 2])
    const path = pathOf(dir, fileOf(nameOf(1)))
    await damage(path)
    expect(await has(cache, 1)).toBe(false)
    expect(cache.stats()).toMatchObject({ damaged: 1, misses: 1 })
    await vi.waitUntil(() =>
      stat(path).then(
        () => false,
        () => true,
      ),
    )
    cache.put(nameOf(1), contentOf(1))
    await written(cache)
    expect(await present(cache, [1, 2])).toEqual([1, 2])
  })

  test('whatever was changed in it: what is found is what was put', async () => {
    await using cache = await reopened([1])
    const path = pathOf(dir, fileOf(nameOf(1)))
    const whole = await readFile(path)
    const change = fc.record({
      // The header, and anywhere.
      at: fc.oneof(fc.nat(8), fc.nat(whole.length)),
      bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
    })
    const cut = fc.option(fc.nat(whole.length), { freq: 4 })
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 3 }), cut, async (changes, end) => {
        const file = Buffer.from(whole)
        for (const { at, bytes } of changes) file.set(bytes.subarray(0, file.length - at), at)
        const changed = file.subarray(0, end ?? file.length)
        await writeFile(path, changed)
        const isWhole = Buffer.compare(changed, whole) === 0
        // Asks whether it is right, too.
        expect(await has(cache, 1)).toBe(isWhole)
        // What is damaged is removed on the way.
        if (!isWhole)
          await vi.waitUntil(
            () =>
              stat(path).then(
                () => false,
                () => true,
              ),
            { interval: 1 },
          )
      }),
    )
  })

  test('nor is a link, a pipe or a folder in its place waited for or followed', async () => {
    await using cache = await reopened([1, 2, 3])
    const [link, pipe, place] = [1, 2, 3].map((number) => pathOf(dir, fileOf(nameOf(number))))
    await writeFile(join(folder, 'elsewhere'), await readFile(link!))
    for (const path of [link!, pipe!, place!]) await rm(path)
    await symlink(join(folder, 'elsewhere'), link!)
    await run('mkfifo', [pipe!])
    await mkdir(place!)
    expect(await present(cache, [1, 2, 3])).toEqual([])
    cache.put(nameOf(1), contentOf(1))
    cache.put(nameOf(2), contentOf(2))
    await written(cache)
    expect(await present(cache, [1, 2])).toEqual([1, 2])
  })
})

test('names that are no names are never found and never kept', async () => {
  await using cache = open()
  const names = ['', '../escape', 'a/b', 'A', 'a b', 'a\0', 'ä', 'x'.repeat(101), `${'x'.repeat(99)}\n`]
  for (const name of names) {
    cache.put(name, contentOf(1))
    cache.drop(name)
    expect(await cache.get(name)).toBeUndefined()
  }
  expect(cache.stats().pendingBytes).toBe(0)
  for (const name of ['.', '..', '...', 'x'.repeat(100)]) {
    cache.put(name, contentOf(1))
    await written(cache)
    expect(Buffer.from((await cache.get(name))!)).toEqual(contentOf(1))
  }
  expect(await readdir(folder)).toEqual(['cache'])
  expect(await files()).toHaveLength(4)
})

test('what does not fit is refused: an entry above the bound, and more than may wait', async () => {
  await using cache = open(20 * MiB)
  cache.put('a', new Uint8Array(9 * MiB))
  for (let number = 0; number < 6; number++) cache.put(String(number), new Uint8Array(8 * MiB))
  expect(cache.stats()).toMatchObject({ refused: 4 })
  expect(cache.stats().pendingBytes).toBeLessThanOrEqual(32 * MiB)
  await written(cache)
  expect(await bytesOnDisk()).toBeLessThanOrEqual(20 * MiB)
})

test('after it was disposed of nothing is found and nothing kept', async () => {
  const cache = await reopened([1])
  await cache[Symbol.asyncDispose]()
  await cache[Symbol.asyncDispose]()
  cache.put(nameOf(2), contentOf(2))
  cache.drop(nameOf(1))
  expect(await present(cache, [1, 2])).toEqual([])
  expect(await files()).toHaveLength(1)
})

test('what others have in the directory stays, what killed processes left goes', async () => {
  await (await reopened([1]))[Symbol.asyncDispose]()
  const path = pathOf(dir, fileOf(nameOf(1)))
  const leftover = `${path}.00000000-0000-4000-8000-000000000000`
  const fresh = `${path}.00000000-0000-4000-8000-000000000001`
  const foreign = join(dirname(path), 'notes.txt')
  for (const other of [leftover, fresh, foreign, join(dir, 'notes.txt')]) await writeFile(other, 'other')
  for (const old of [leftover, foreign]) await utimes(old, 0, 0)
  await using cache = open()
  await vi.waitUntil(() =>
    stat(leftover).then(
      () => false,
      () => true,
    ),
  )
  await vi.waitUntil(() => cache.stats().entries === 1)
  expect(await files()).toHaveLength(4)
})

test('a cache whose directory vanishes makes it anew', async () => {
  await using cache = await reopened([1])
  await rm(dir, { recursive: true })
  expect(await has(cache, 1)).toBe(false)
  cache.put(nameOf(1), contentOf(1))
  await written(cache)
  expect(await has(cache, 1)).toBe(true)
})

/** Starts the writer, and waits for it to write. */
async function started(args: readonly string[]) {
  const child = spawn(process.execPath, [writer, dir, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const lines = createInterface(child.stdout)
  const output: string[] = []
  lines.on('line', (line) => output.push(line))
  await once(lines, 'line')
  return {
    output,
    exited,
    kill: () => child.kill('SIGKILL'),
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await exited
    },
  }
}

test('whenever the writer is killed, what is found is whole', async () => {
  for (let round = 0; round < 5; round++) {
    await using process = await started([String(100 * MiB), String(round * 10_000), '10000'])
    await new Promise((resolve) => setTimeout(resolve, round * 30))
    process.kill()
    await process.exited
    await using cache = open()
    const numbers = Array.from({ length: 2000 }, (_, index) => round * 10_000 + index)
    expect((await present(cache, numbers)).length).toBeGreaterThan(20)
    expect(cache.stats().damaged).toBe(0)
  }
})

test('two processes share a directory, find what the other has put and keep the bound together, about', async () => {
  const maximumBytes = 10 * MiB
  const args = (first: number) => [String(maximumBytes), String(first), '1500']
  await using first = await started(args(0))
  await using second = await started(args(750))
  await Promise.all([first.exited, second.exited])
  for (const { output } of [first, second]) {
    expect(JSON.parse(output[1]!)).toMatchObject({ wrong: 0, damaged: 0, refused: 0, kept: 1500 })
  }
  expect(await bytesOnDisk()).toBeLessThanOrEqual(1.5 * maximumBytes)
  await using cache = open(maximumBytes)
  await vi.waitFor(async () => expect(await bytesOnDisk()).toBeLessThanOrEqual(maximumBytes))
  expect((await present(cache, upTo(2250))).length).toBeGreaterThan(150)
})

/** Runs the writer in a mount namespace of its own. */
async function inNamespace(
  mount: string,
  count: number,
): Promise<CacheDirectoryStats & { found: number; wrong: number }> {
  await mkdir(dir, { recursive: true })
  const script = `${mount} && exec "$2" "$3" "$1" ${String(100 * MiB)} 0 ${count}`
  const { stdout } = await run('unshare', ['-rm', 'sh', '-c', script, 'sh', dir, process.execPath, writer])
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as CacheDirectoryStats & {
    found: number
    wrong: number
  }
}

test('what was got before it was written stays as it is, and may be altered', async () => {
  const bytes = new Uint8Array(300_000).fill(5)
  await using cache = open()
  cache.put('a', bytes)
  const [one, other] = [await cache.get('a'), await cache.get('a')]
  one?.fill(6)
  await vi.waitFor(() => expect(cache.stats()).toMatchObject({ kept: 1, pendingBytes: 0 }))
  expect(other).toEqual(bytes)
  expect(await cache.get('a')).toEqual(Buffer.from(bytes))
})

test('a full disk ends the keeping, and what was kept is read on', async () => {
  const result = await inNamespace('mount -t tmpfs -o size=2m none "$1"', 200)
  expect(result).toMatchObject({ failure: 'ENOSPC', wrong: 0, damaged: 0 })
  expect(result.kept).toBeGreaterThan(30)
  expect(result.found).toBe(result.kept)
  expect(result.kept + result.refused).toBe(200)
})

test('a directory that cannot be written is read all the same', async () => {
  await (await reopened(upTo(5)))[Symbol.asyncDispose]()
  const result = await inNamespace('mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"', 10)
  expect(result).toMatchObject({ failure: 'EROFS', found: 5, wrong: 0, kept: 0, refused: 10 })
})

test('a failure is logged once', async () => {
  await writeFile(dir, 'a file in the place of the directory')
  const warnings: unknown[] = []
  const log = { warn: (fields: object, message: string) => warnings.push([fields, message]) }
  await using cache = openCacheDirectory({ dir, maximumBytes: MiB, log })
  cache.put('a', contentOf(1))
  await vi.waitUntil(() => cache.stats().failure !== undefined)
  cache.put('b', contentOf(1))
  expect(cache.stats()).toMatchObject({ failure: 'ENOTDIR', refused: 2, pendingBytes: 0 })
  expect(await cache.get('a')).toBeUndefined()
  expect(warnings).toEqual([[{ dir, error: 'ENOTDIR' }, expect.any(String)]])
})
