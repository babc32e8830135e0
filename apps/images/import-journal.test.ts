import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { noise } from '#core/artifact/artifact.fixture.ts'
import type { StoredChunk } from '#core/artifact/index.ts'
import { type BlobDigest, digestOf } from '#core/blobs/index.ts'
import { type ImportIdentity, openJournal } from './import-journal.ts'

const identity: ImportIdentity = {
  reference: { name: 'disk', version: '1' },
  store: '/store',
  keyId: 'a'.repeat(32),
  chunkBytes: 65_536,
  source: '/disk.raw 1000 5',
}
let folder: string
const path = (): string => join(folder, 'imports/disk:1.journal')

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'import-journal-'))
  vi.stubEnv('TRUSTCAST_IMAGES', folder)
})

afterEach(async () => {
  vi.unstubAllEnvs()
  await rm(folder, { recursive: true })
})

const packs: readonly BlobDigest[] = [1, 2, 3].map((number) => digestOf(Uint8Array.of(number)))
const chunksIn = (pack: BlobDigest): StoredChunk[] =>
  [0, 1].map((at) => ({ digest: noise(32, at + packs.indexOf(pack)), pack, offset: at * 500, length: 500 }))

async function writeJournal(): Promise<void> {
  await using journal = await openJournal(identity)
  for (const pack of packs) await journal.record(pack, 1000, chunksIn(pack))
}

async function read(of = identity) {
  await using journal = await openJournal(of)
  return { chunks: journal.done.length, packs: [...journal.packSizes.keys()], done: journal.done }
}

test('what was recorded is there again, also after it was read without an import', async () => {
  await writeJournal()
  for (let times = 0; times < 2; times++) {
    const { done, packs: found } = await read()
    expect(found).toEqual(packs)
    expect(done.map((chunk) => ({ ...chunk, digest: Buffer.from(chunk.digest).toString('hex') }))).toEqual(
      packs
        .flatMap(chunksIn)
        .map((chunk) => ({ ...chunk, digest: Buffer.from(chunk.digest).toString('hex') })),
    )
  }
})

test('a line that is torn counts for nothing, and the next one stands behind the whole ones', async () => {
  await writeJournal()
  const text = await readFile(path(), 'utf8')
  for (const cut of [1, 100, 200]) {
    await writeFile(path(), text.slice(0, -cut))
    expect((await read()).packs).toEqual(packs.slice(0, 2))
  }
  {
    await using journal = await openJournal(identity)
    await journal.record(packs[2]!, 1000, chunksIn(packs[2]!))
  }
  await appendFile(path(), '{"pack":')
  expect((await read()).packs).toEqual(packs)
})

test('a journal of anything else is as if it were not there', async () => {
  const others: Partial<ImportIdentity>[] = [
    { source: '/disk.raw 1000 6' },
    { source: '/disk.raw 1001 5' },
    { store: '/other' },
    { keyId: 'b'.repeat(32) },
    { chunkBytes: 131_072 },
  ]
  for (const other of others) {
    await writeJournal()
    expect((await read({ ...identity, ...other })).chunks).toBe(0)
  }
})

test('one name and version is imported once at a time, and what is there outlives a refusal', async () => {
  await writeJournal()
  {
    await using journal = await openJournal(identity)
    for (const source of [identity.source, '/other.raw 1 1'])
      await expect(openJournal({ ...identity, source })).rejects.toMatchObject({
        code: 'IMAGE_IMPORT_RUNNING',
      })
    await using _other = await openJournal({ ...identity, reference: { name: 'disk', version: '2' } })
    expect(journal.done).toHaveLength(6)
  }
  const whole = await readFile(path(), 'utf8')
  expect((await read()).packs).toEqual(packs)
  expect(await readFile(path(), 'utf8')).toBe(whole)
})

test('of many that wait for a name to be free, one at a time has it', async () => {
  let [open, done] = [0, 0]
  const importing = async (): Promise<void> => {
    try {
      await using journal = await openJournal(identity)
      expect(++open).toBe(1)
      await journal.record(packs[0]!, 1000, chunksIn(packs[0]!))
      await journal.forget()
      open--
      done++
    } catch (error) {
      expect(error).toMatchObject({ code: 'IMAGE_IMPORT_RUNNING' })
      await importing()
    }
  }
  await Promise.all(Array.from({ length: 8 }, importing))
  expect(done).toBe(8)
})

test('a journal with any changes names only chunks that can be, in packs whose size it knows', async () => {
  await writeJournal()
  const whole = await readFile(path(), 'utf8')
  const texts = ['"', '\n', '-1', '1e9', '1.5', 'null', '{}', '[]', '9'.repeat(20), '}', ',', '0']
  const text = fc.oneof(fc.constantFrom(...texts), fc.string({ maxLength: 4 }))
  const numbers = [...whole.matchAll(/(?<=[:[,])\d+(?=[,\]])/g)].map(({ 0: digits, index }) =>
    fc.record({ at: fc.constant(index), over: fc.constant(digits.length), text }),
  )
  const edit = fc.oneof(fc.record({ at: fc.nat(whole.length), over: fc.nat(12), text }), ...numbers)
  await fc.assert(
    fc.asyncProperty(fc.array(edit, { maxLength: 3 }), async (edits) => {
      let text = whole
      for (const { at, over, text: put } of edits) text = `${text.slice(0, at)}${put}${text.slice(at + over)}`
      await writeFile(path(), text)
      await using journal = await openJournal(identity)
      for (const { digest, pack, offset, length } of journal.done) {
        expect(digest.length).toBe(32)
        const size = journal.packSizes.get(pack)
        expect(offset).toBeGreaterThanOrEqual(0)
        expect(length).toBeGreaterThan(0)
        expect(offset + length).toBeLessThanOrEqual(size ?? 0)
      }
    }),
    { numRuns: 300 },
  )
})
