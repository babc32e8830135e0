import { randomBytes } from 'node:crypto'
import { zstdCompressSync } from 'node:zlib'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { type PieceContent, pieceBlocks, pieceCount } from '#core/block/capturable.ts'
import { PieceSet } from '#core/block/piece-set.ts'
import { type SlotRun, slotBytes } from '#core/block/slot-store.ts'
import {
  decodeManifest,
  decodePiece,
  encodeManifest,
  encodePiece,
  isSealedBy,
  longestSealedBytes,
  openManifest,
  openPiece,
  pieceName,
  ReplicaError,
  ReplicaKeys,
  sealPiece,
  startOf,
} from './index.ts'

const overlayKey = randomBytes(32)
const base = `office:1 ${'ab'.repeat(32)}`
const mine = { personId: 'p1', scope: '', base }
const keys = new ReplicaKeys(overlayKey, mine)
const others = [
  new ReplicaKeys(randomBytes(32), mine),
  new ReplicaKeys(overlayKey, { ...mine, personId: 'p2' }),
  new ReplicaKeys(overlayKey, { ...mine, scope: 'desk' }),
  new ReplicaKeys(overlayKey, { ...mine, base: base.replace(':1', ':2') }),
]
const corrupt = { code: 'REPLICA_CORRUPT', remedy: expect.any(String) as string }

/** Blocks of one piece, `data` ones each full of a byte, or of noise. */
const contents = fc
  .array(fc.constantFrom('absent' as const, 'zero' as const, 'data' as const), {
    minLength: 1,
    maxLength: pieceBlocks,
    size: 'max',
  })
  .map((kinds) => contentOf(kinds))

function contentOf(kinds: readonly SlotRun['kind'][], fill = 7): PieceContent {
  const runs: { kind: SlotRun['kind']; count: number }[] = []
  for (const kind of kinds) {
    const last = runs.at(-1)
    if (last?.kind === kind) last.count++
    else runs.push({ kind, count: 1 })
  }
  return { runs, data: new Uint8Array(kinds.filter((kind) => kind === 'data').length * slotBytes).fill(fill) }
}

function blocksIn({ runs }: PieceContent): number {
  return runs.reduce((sum, { count }) => sum + count, 0)
}

test('what a piece holds comes back, and any bytes decode or are refused', () => {
  fc.assert(
    fc.property(contents, (content) => {
      const back = decodePiece(encodePiece(content), blocksIn(content))
      expect(back.runs).toEqual(content.runs)
      expect(Buffer.compare(back.data, content.data)).toBe(0)
    }),
    { numRuns: 50 },
  )
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 40 }),
      fc.integer({ min: 1, max: pieceBlocks }),
      (bytes, blocks) => {
        decodesOrRefuses(() => decodePiece(bytes, blocks))
      },
    ),
  )
})

test('a sealed piece opens by its name in its place, under its own keys, and in no other way', async () => {
  const content = contentOf(['data', 'zero', 'absent', 'data'])
  const plain = encodePiece(content)
  const name = pieceName(keys, 5, plain)
  const sealed = await sealPiece(keys, 5, plain, randomBytes(12))
  const place = { piece: 5, name, blocks: 4 }
  expect((await openPiece(keys, place, sealed)).runs).toEqual(content.runs)
  await expect(openPiece(keys, { ...place, piece: 6 }, sealed)).rejects.toMatchObject(corrupt)
  await expect(openPiece(keys, { ...place, name: 'ab'.repeat(32) }, sealed)).rejects.toMatchObject(corrupt)
  for (const other of others) await expect(openPiece(other, place, sealed)).rejects.toMatchObject(corrupt)
  for (let at = 0; at < sealed.length; at += 7) {
    const flipped = Uint8Array.from(sealed)
    flipped[at] = (flipped[at] ?? 0) ^ 1
    await expect(openPiece(keys, place, flipped)).rejects.toMatchObject(corrupt)
  }
  for (const length of [0, 27, sealed.length - 1])
    await expect(openPiece(keys, place, sealed.subarray(0, length))).rejects.toMatchObject(corrupt)
})

test('names say whether content is the same to whoever has the keys, and nothing across replicas', () => {
  const [one, same, other] = [contentOf(['data']), contentOf(['data']), contentOf(['data'], 8)].map(
    encodePiece,
  )
  expect(pieceName(keys, 1, one!)).toBe(pieceName(keys, 1, same!))
  expect(pieceName(keys, 1, one!)).not.toBe(pieceName(keys, 2, one!))
  expect(pieceName(keys, 1, one!)).not.toBe(pieceName(keys, 1, other!))
  for (const foreign of others) expect(pieceName(foreign, 1, one!)).not.toBe(pieceName(keys, 1, one!))
})

test('noise fits into a piece, and what unpacks to more than a piece is refused', async () => {
  const noise = {
    runs: [{ kind: 'data' as const, count: pieceBlocks }],
    data: randomBytes(pieceBlocks * slotBytes),
  }
  const sealed = await sealPiece(keys, 0, encodePiece(noise), randomBytes(12))
  expect(sealed.length).toBeLessThanOrEqual(longestSealedBytes)
  const bomb = new Uint8Array(64 * 1024 * 1024)
  expect(zstdCompressSync(bomb).length).toBeLessThan(longestSealedBytes)
  const evil = await sealPiece(keys, 0, bomb, randomBytes(12))
  const place = { piece: 0, name: pieceName(keys, 0, bomb), blocks: pieceBlocks }
  await expect(openPiece(keys, place, evil)).rejects.toMatchObject(corrupt)
})

test('with wiped keys nothing is sealed, named or opened', async () => {
  const own = new ReplicaKeys(overlayKey, mine)
  const plain = encodePiece(contentOf(['data']))
  const [name, sealed] = [pieceName(own, 0, plain), await sealPiece(own, 0, plain, randomBytes(12))]
  own.wipe()
  const gone = { code: 'REPLICA_KEY_GONE' }
  await expect(sealPiece(own, 0, plain, randomBytes(12))).rejects.toMatchObject(gone)
  await expect(openPiece(own, { piece: 0, name, blocks: 1 }, sealed)).rejects.toMatchObject(gone)
  expect(() => pieceName(own, 0, plain)).toThrow(expect.objectContaining(gone) as Error)
})

const blocks = 5000
const manifests = fc
  .record({
    sequence: fc.integer({ min: 1, max: 2 ** 52 }),
    writtenAt: fc.nat(),
    named: fc.uniqueArray(fc.nat(pieceCount(blocks) - 1), { maxLength: 20 }),
    zero: fc.uniqueArray(fc.nat(pieceCount(blocks) - 1), { maxLength: 20 }),
  })
  .map(({ sequence, writtenAt, named, zero }) => {
    const zeros = new PieceSet(pieceCount(blocks))
    for (const piece of zero) if (!named.includes(piece)) zeros.add(piece)
    const names = new Map(named.map((piece) => [piece, pieceName(keys, piece, new Uint8Array(1))]))
    return { base, blocks, sequence, writtenAt, names, zeros }
  })

test('a manifest comes back, and nobody without the keys can make or change one', () => {
  fc.assert(
    fc.property(manifests, fc.nat(), (manifest, where) => {
      const bytes = encodeManifest(keys, manifest)
      const back = openManifest(keys, manifest, bytes)
      expect(back).toMatchObject({ base, blocks, sequence: manifest.sequence, writtenAt: manifest.writtenAt })
      expect([...back.names]).toEqual([...manifest.names].toSorted(([a], [b]) => a - b))
      expect([...back.zeros.runs()]).toEqual([...manifest.zeros.runs()])
      expect(decodeManifest(bytes).names.size).toBe(manifest.names.size)
      for (const other of others) expect(isSealedBy(other, bytes)).toBe(false)
      const flipped = Uint8Array.from(bytes)
      flipped[where % bytes.length] = (flipped[where % bytes.length] ?? 0) ^ 1
      expect(() => openManifest(keys, manifest, flipped)).toThrow(expect.objectContaining(corrupt) as Error)
      decodesOrRefuses(() => decodeManifest(flipped))
      decodesOrRefuses(() => decodeManifest(bytes.subarray(0, where % bytes.length)))
    }),
  )
  fc.assert(fc.property(fc.uint8Array(), (bytes) => decodesOrRefuses(() => decodeManifest(bytes))))
})

test('a manifest over another image or of another size is refused', () => {
  const empty = {
    base,
    blocks,
    sequence: 1,
    writtenAt: 0,
    names: new Map(),
    zeros: new PieceSet(pieceCount(blocks)),
  }
  const bytes = encodeManifest(keys, empty)
  for (const wanted of [
    { base, blocks: blocks + 1 },
    { base: 'office:2', blocks },
  ])
    expect(() => openManifest(keys, wanted, bytes)).toThrow(
      expect.objectContaining({ code: 'REPLICA_OTHER_BASE' }) as Error,
    )
})

test('a disk of 2 TiB of zeros is a manifest of a few bytes, and too many pieces are refused', () => {
  const many = 2 ** 29
  const zeros = new PieceSet(pieceCount(many))
  zeros.add(0, pieceCount(many))
  const bytes = encodeManifest(keys, {
    base,
    blocks: many,
    sequence: 1,
    writtenAt: 0,
    names: new Map(),
    zeros,
  })
  expect(bytes.length).toBeLessThan(300)
  expect(decodeManifest(bytes).zeros.size).toBe(pieceCount(many))
  const names = new Map(Array.from({ length: 500_000 }, (_, piece) => [piece, 'ab'.repeat(32)]))
  const none = new PieceSet(pieceCount(many))
  expect(() =>
    encodeManifest(keys, { base, blocks: many, sequence: 1, writtenAt: 0, names, zeros: none }),
  ).toThrow(expect.objectContaining({ code: 'REPLICA_TOO_LARGE' }) as Error)
})

function stateOf(sequence: number) {
  return { sequence, digest: sequence === 0 ? '' : `digest ${sequence}` }
}

test('an endpoint begins so that nothing is lost and nothing goes back', () => {
  const start = (isHere: boolean, sequence: number, offered: number | undefined, isUnchanged = false) =>
    startOf({
      isHere,
      known: { ...stateOf(sequence), isUnchanged },
      offered: offered === undefined ? undefined : stateOf(offered),
    })
  expect(start(false, 0, 0)).toBe('go-on')
  expect(start(true, 0, 0)).toBe('go-on')
  expect(start(false, 0, 3)).toBe('take')
  expect(start(false, 3, 3)).toBe('take')
  expect(start(true, 3, 3)).toBe('go-on')
  expect(start(true, 3, 5, true)).toBe('take')
  expect(start(true, 3, 5)).toBe('take-aside')
  expect(start(true, 0, 5)).toBe('take-aside')
  const forked = { sequence: 3, digest: 'of another device' }
  expect(startOf({ isHere: true, known: { ...forked, isUnchanged: false }, offered: stateOf(3) })).toBe(
    'take-aside',
  )
  expect(start(true, 5, 3)).toBe('send-again')
  expect(start(true, 5, 0)).toBe('send-again')
  expect(start(false, 5, 3)).toBe('refuse-older')
  expect(start(false, 5, 0)).toBe('refuse-older')
  expect(start(true, 5, undefined)).toBe('go-on')
  expect(start(false, 0, undefined)).toBe('refuse-unasked')
})

function decodesOrRefuses(decode: () => unknown): void {
  try {
    decode()
  } catch (error) {
    expect(error).toBeInstanceOf(ReplicaError)
  }
}
