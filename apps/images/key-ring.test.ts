import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import * as fc from 'fast-check'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { imageKey, imageKeyOrNew, madeHere, rememberMade } from './key-ring.ts'

const run = promisify(execFile)
const importer = join(import.meta.dirname, 'key-ring.rig.ts')
let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'key-ring-'))
  vi.stubEnv('TRUSTCAST_IMAGES', folder)
})

afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(folder, { recursive: true })
})

test('processes that import a family at once for the first time have one key and forget nothing', async () => {
  const processes = ['a', 'b', 'c', 'd', 'e', 'f']
  const keys = await Promise.all(
    processes.map(async (name) => {
      const versions = [1, 2, 3].map((number) => `${name}${number}`)
      return (await run(process.execPath, [importer, 'disk', ...versions])).stdout
    }),
  )
  expect(new Set(keys)).toEqual(new Set([Buffer.from(await imageKey('disk')).toString('hex')]))
  for (const name of processes)
    for (const number of [1, 2, 3])
      expect(await madeHere({ name: 'disk', version: `${name}${number}` })).toBeDefined()
  expect((await readdir(folder)).toSorted()).toEqual(['disk.json', 'disk.lock'])
  expect((await stat(join(folder, 'disk.json'))).mode & 0o777).toBe(0o600)
})

test('many that ask within a process get one key', async () => {
  const keys = await Promise.all(Array.from({ length: 20 }, () => imageKeyOrNew('disk')))
  expect(new Set(keys.map((key) => Buffer.from(key).toString('hex'))).size).toBe(1)
  const versions = Array.from({ length: 20 }, (_, number) => `v${number}`)
  await Promise.all(
    versions.map((version) => rememberMade({ name: 'disk', version }, `sha256:${'1'.repeat(64)}`)),
  )
  for (const version of versions) expect(await madeHere({ name: 'disk', version })).toBeDefined()
})

test('nothing is known of a version that was not made here, whatever it is called', async () => {
  await imageKeyOrNew('disk')
  for (const version of ['1', 'constructor', 'valueof']) {
    expect(await madeHere({ name: 'disk', version })).toBeUndefined()
  }
})

test('nothing is remembered of a family without a key', async () => {
  await expect(
    rememberMade({ name: 'disk', version: '1' }, `sha256:${'1'.repeat(64)}`),
  ).rejects.toMatchObject({ code: 'IMAGE_KEY_MISSING' })
  expect(await readdir(folder)).toEqual([])
})

test('a key file with any change is refused, or holds a key and digests, and is never written over', async () => {
  await imageKeyOrNew('disk')
  await rememberMade({ name: 'disk', version: '1' }, `sha256:${'1'.repeat(64)}`)
  const path = join(folder, 'disk.json')
  const whole = await readFile(path, 'utf8')
  const put = fc.oneof(
    fc.constantFrom('"', '{', '}', ',', ':', 'null', '1e9', '\\u0000', '__proto__'),
    fc.string({ maxLength: 4 }),
  )
  const edit = fc.record({ at: fc.nat(whole.length), over: fc.nat(12), put })
  const cut = fc.option(fc.nat(whole.length - 1), { freq: 4 })
  await fc.assert(
    fc.asyncProperty(fc.array(edit, { maxLength: 3 }), cut, async (edits, end) => {
      let text = whole
      for (const { at, over, put } of edits) text = `${text.slice(0, at)}${put}${text.slice(at + over)}`
      text = text.slice(0, end ?? text.length)
      await writeFile(path, text)
      try {
        expect((await imageKeyOrNew('disk')).length).toBe(32)
        expect((await madeHere({ name: 'disk', version: '1' })) ?? `sha256:${'1'.repeat(64)}`).toMatch(
          /^sha256:[0-9a-f]{64}$/,
        )
      } catch (error) {
        expect(error).toMatchObject({ code: 'IMAGE_KEY_UNREADABLE', remedy: expect.any(String) })
      }
      expect(await readFile(path, 'utf8')).toBe(text)
    }),
  )
})
