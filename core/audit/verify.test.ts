import { generateKeyPairSync } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { signCheckpoint } from './checkpoint.ts'
import type { FileReader } from './log-files.ts'
import { leafHash, treeHash } from './merkle.ts'
import { encodeVerifierKey } from './note.ts'
import { changedTiles, encodeEntryBundle, encodeHashTile, parseTilePath, tilePath } from './tiles.ts'
import { type LogVerdict, type VerifyOptions, verifyLog } from './verify.ts'

const { privateKey } = generateKeyPairSync('ed25519')
const name = 'site.example/audit'
const publicKey = encodeVerifierKey(name, privateKey)

type Files = Map<string, Uint8Array>

function someEntries(size: number, label = 'entry'): Uint8Array[] {
  return Array.from({ length: size }, (_, i) => Buffer.from(`${label} ${i}`))
}

function note(entries: readonly Uint8Array[]): string {
  return signCheckpoint(
    { size: BigInt(entries.length), root: treeHash(entries.map(leafHash)) },
    { name, privateKey },
  )
}

function logOf(entries: readonly Uint8Array[]): Files {
  const leaves = entries.map(leafHash)
  const files: Files = new Map([['checkpoint', Buffer.from(note(entries))]])
  for (const tile of changedTiles(0n, BigInt(entries.length))) {
    const level = tile.level === 'entries' ? 0 : tile.level
    const span = 256 ** level
    const start = Number(tile.index) * 256 * span
    const end = start + tile.width * span
    const bytes =
      tile.level === 'entries'
        ? encodeEntryBundle(entries.slice(start, end))
        : encodeHashTile(level, leaves.slice(start, end))
    files.set(tilePath(tile), bytes)
  }
  return files
}

function reader(files: Files): FileReader {
  return async (path) => files.get(path)
}

function verify(files: Files, options: Partial<VerifyOptions> = {}): Promise<LogVerdict> {
  return verifyLog({ read: reader(files), publicKey, ...options })
}

function changed(files: Files, path: string, at: number, mask = 1): Files {
  const bytes = Uint8Array.from(files.get(path)!)
  bytes[at]! ^= mask
  return new Map(files).set(path, bytes)
}

/** Which entry of a bundle a byte belongs to, its length included. */
function entryOf(bundle: Uint8Array, at: number): number {
  let index = 0
  for (let end = 0; ; index++) {
    end += 2 + ((bundle[end]! << 8) | bundle[end + 1]!)
    if (at < end) return index
  }
}

test('a whole log of any size verifies', async () => {
  for (const size of [0, 1, 2, 255, 256, 257, 512, 700, 65_536, 65_800]) {
    const entries = someEntries(size)
    const progress: bigint[] = []
    const verdict = await verify(logOf(entries), { onProgress: (verified) => progress.push(verified) })
    const root = treeHash(entries.map(leafHash))
    expect(verdict).toEqual({ ok: true, origin: name, size: BigInt(size), root })
    expect(progress).toHaveLength(Math.ceil(size / 256))
    expect(progress.at(-1) ?? 0n).toBe(BigInt(size))
  }
})

test('no byte of any file can be changed, and in a bundle the entry is named', async () => {
  const size = fc.oneof(fc.integer({ min: 1, max: 1200 }), fc.constantFrom(1, 255, 256, 257, 512, 1024))
  await fc.assert(
    fc.asyncProperty(
      size,
      fc.nat(),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      async (size, file, byte, mask) => {
        const files = logOf(someEntries(size))
        const [path, bytes] = [...files][file % files.size]!
        const at = byte % bytes.length
        const verdict = await verify(changed(files, path, at, mask))
        expect(verdict.ok).toBe(false)
        const tile = parseTilePath(path)
        if (tile?.level === 'entries') {
          const index = tile.index * 256n + BigInt(entryOf(bytes, at))
          expect(verdict).toMatchObject({ index, end: index + 1n })
          expect(['AUDIT_ENTRY_CHANGED', 'AUDIT_CUT']).toContain('code' in verdict && verdict.code)
        } else {
          const index = (tile?.index ?? 0n) * 256n + BigInt(Math.floor(at / 32))
          const expected =
            tile === undefined
              ? { code: 'AUDIT_CHECKPOINT_INVALID' }
              : tile.level === 0
                ? { code: 'AUDIT_TILE_CHANGED', index, end: index + 1n }
                : { code: 'AUDIT_TILE_CHANGED', index: index * 256n, end: (index + 1n) * 256n }
          expect(verdict).toMatchObject(expected)
        }
      },
    ),
    { numRuns: 200 },
  )
})

test('in a log of three levels each damaged tile is told from what it covers', async () => {
  const files = logOf(someEntries(65_600))
  const code = 'AUDIT_TILE_CHANGED'
  expect(await verify(changed(files, 'tile/2/000.p/1', 0))).toMatchObject({ code, index: 0n, end: 65_536n })
  expect(await verify(changed(files, 'tile/1/000', 32 * 7))).toMatchObject({ code, index: 1792n, end: 2048n })
  expect(await verify(changed(files, 'tile/0/255', 32 * 3))).toMatchObject({
    code,
    index: 65_283n,
    end: 65_284n,
  })
  const entry = { code: 'AUDIT_ENTRY_CHANGED', index: 65_536n, end: 65_537n }
  expect(await verify(changed(files, 'tile/entries/256.p/64', 2))).toMatchObject(entry)
})

test('the first of several changed entries is named', async () => {
  let files = logOf(someEntries(900))
  for (const bundle of ['tile/entries/002', 'tile/entries/001', 'tile/entries/003.p/132'])
    files = changed(files, bundle, 4)
  expect(await verify(files)).toMatchObject({ code: 'AUDIT_ENTRY_CHANGED', index: 256n })
})

test('an entry changed together with its hashes is known as far as the tiles above tell', async () => {
  const entries = someEntries(1100)
  const files = logOf(entries)
  const forged = logOf(entries.with(300, Buffer.from('forged')))
  const take = (...paths: string[]): Files =>
    new Map([...files, ...paths.map((path) => [path, forged.get(path)!] as const)])

  const below = take('tile/entries/001', 'tile/0/001')
  expect(await verify(below)).toMatchObject({ code: 'AUDIT_RANGE_CHANGED', index: 256n, end: 512n })
  const all = take('tile/entries/001', 'tile/0/001', 'tile/1/000.p/4')
  expect(await verify(all)).toMatchObject({ code: 'AUDIT_RANGE_CHANGED', index: 0n, end: 1100n })
  const trusted = note(entries.slice(0, 290))
  expect(await verify(all, { trusted })).toMatchObject({
    code: 'AUDIT_RANGE_CHANGED',
    index: 290n,
    end: 1100n,
  })
  const later = note(entries.slice(0, 310))
  expect(await verify(all, { trusted: later })).toMatchObject({
    code: 'AUDIT_RANGE_CHANGED',
    index: 0n,
    end: 310n,
  })
})

test('a missing file, entry or end is a cut', async () => {
  const entries = someEntries(700)
  const files = logOf(entries)
  for (const path of files.keys()) {
    const cut = new Map(files)
    cut.delete(path)
    const verdict = await verify(cut)
    if (path === 'checkpoint') expect(verdict).toMatchObject({ code: 'AUDIT_CHECKPOINT_INVALID' })
    else expect(verdict).toMatchObject({ code: 'AUDIT_CUT', index: parseTilePath(path)!.index * 256n })
  }
  const short = new Map(files).set('tile/entries/002.p/188', encodeEntryBundle(entries.slice(512, 600)))
  expect(await verify(short)).toMatchObject({ code: 'AUDIT_CUT', index: 600n })
  const long = new Map(files).set(
    'tile/entries/002.p/188',
    encodeEntryBundle([...entries.slice(512), Buffer.from('+')]),
  )
  expect(await verify(long)).toMatchObject({ code: 'AUDIT_ENTRY_CHANGED', index: 699n })
  const stub = new Map(files).set('tile/0/001', new Uint8Array(31))
  expect(await verify(stub)).toMatchObject({ code: 'AUDIT_TILE_CHANGED', index: 256n, end: 512n })
})

test('a partial tile may have been replaced by the full one', async () => {
  const entries = someEntries(600)
  const grown = logOf(entries)
  const files = logOf(entries.slice(0, 500))
  for (const path of ['tile/entries/001', 'tile/0/001']) {
    files.delete(`${path}.p/244`)
    files.set(path, grown.get(path)!)
  }
  expect(await verify(files)).toMatchObject({ ok: true, size: 500n })
})

test('a log must begin with the checkpoint that is trusted', async () => {
  const entries = someEntries(65_600)
  const files = logOf(entries)
  for (const size of [0, 1, 256, 1000, 65_536, 65_590]) {
    const trusted = note(entries.slice(0, size))
    expect(await verify(files, { trusted })).toMatchObject({ ok: true })
  }
  const rewritten = note(someEntries(300, 'other'))
  expect(await verify(files, { trusted: rewritten })).toMatchObject({
    code: 'AUDIT_FORKED',
    index: 0n,
    end: 300n,
  })
  const longer = note(someEntries(65_610))
  expect(await verify(files, { trusted: longer })).toMatchObject({
    code: 'AUDIT_CUT',
    index: 65_600n,
    end: 65_610n,
  })
  expect(await verify(files, { trusted: 'nonsense' })).toMatchObject({ code: 'AUDIT_TRUSTED_INVALID' })
})

test('the first entry at which two copies differ is named', async () => {
  const entries = someEntries(700)
  const files = logOf(entries)
  for (const size of [400, 700, 900]) {
    const same = logOf(someEntries(size))
    expect(await verify(files, { against: reader(same) })).toMatchObject({ ok: true })
    const forked = logOf(someEntries(size).with(333, Buffer.from('another story')))
    const fork = { code: 'AUDIT_FORKED', index: 333n, end: 334n }
    expect(await verify(files, { against: reader(forked) })).toMatchObject(fork)
  }
  const posed = new Map(files).set('checkpoint', Buffer.from(note(someEntries(700, 'other'))))
  expect(await verify(files, { against: reader(posed) })).toMatchObject({
    code: 'AUDIT_FORKED',
    index: 0n,
    end: 700n,
  })
  const lacking = new Map(files)
  lacking.delete('tile/0/001')
  expect(await verify(files, { against: reader(lacking) })).toMatchObject({
    code: 'AUDIT_OTHER_INVALID',
    index: 256n,
  })
  expect(await verify(files, { against: reader(new Map()) })).toMatchObject({ code: 'AUDIT_OTHER_INVALID' })
})

test('a log that is shorter than its copy was cut; of two copies the shorter one is the older', async () => {
  const [older, newer] = [logOf(someEntries(400)), logOf(someEntries(700))]
  const cut = { ok: false, code: 'AUDIT_CUT', index: 400n, end: 700n }
  expect(await verify(older, { against: reader(newer), isLive: true })).toMatchObject(cut)
  expect(await verify(newer, { against: reader(older), isLive: true })).toMatchObject({ ok: true })
  const both = [
    [older, newer, 400n, 700n],
    [newer, older, 700n, 400n],
    [newer, newer, 700n, 700n],
  ] as const
  for (const [one, another, size, other] of both)
    expect(await verify(one, { against: reader(another) })).toMatchObject({
      ok: true,
      size,
      other: { size: other },
    })
  // What is said to be newer must be whole, and must have begun with what is older.
  const damaged = changed(newer, 'tile/entries/002.p/188', 40)
  expect(await verify(older, { against: reader(damaged) })).toMatchObject({ code: 'AUDIT_OTHER_INVALID' })
  const posed = new Map(newer).set('checkpoint', Buffer.from(note(someEntries(800, 'other'))))
  expect(await verify(older, { against: reader(posed) })).toMatchObject({ code: 'AUDIT_OTHER_INVALID' })
})

test('a log of another key does not verify, and errors of reading rise', async () => {
  const files = logOf(someEntries(3))
  const foreign = encodeVerifierKey(name, generateKeyPairSync('ed25519').publicKey)
  expect(await verify(files, { publicKey: foreign })).toMatchObject({ code: 'AUDIT_CHECKPOINT_INVALID' })
  await expect(verify(files, { publicKey: 'no key' })).rejects.toMatchObject({ code: 'AUDIT_BAD_KEY' })
  const broken = new Error('no such disk')
  await expect(verify(files, { read: async () => Promise.reject(broken) })).rejects.toBe(broken)
})
