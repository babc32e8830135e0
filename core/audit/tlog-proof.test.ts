import { generateKeyPairSync } from 'node:crypto'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { growTree } from './append-tree.ts'
import { signCheckpoint } from './checkpoint.ts'
import { EMPTY_FRONTIER, treeHash } from './merkle.ts'
import { encodeVerifierKey, parseVerifierKey } from './note.ts'
import { proveInclusion } from './proof.ts'
import { formatTlogProof, openTlogProof, parseTlogProof } from './tlog-proof.ts'

const { privateKey } = generateKeyPairSync('ed25519')
const signer = { name: 'site.example/audit', privateKey }
const verifier = parseVerifierKey(encodeVerifierKey(signer.name, privateKey))
const entries = Array.from({ length: 700 }, (_, n) => Buffer.from(`entry ${n}`))
const tree = growTree(EMPTY_FRONTIER, entries)
const checkpoint = signCheckpoint({ size: tree.size, root: tree.root }, signer)

async function proofOf(index: number): Promise<string> {
  const proof = await proveInclusion(BigInt(index), tree.size, async (subtrees) =>
    subtrees.map(({ height, index }) =>
      treeHash(tree.leafHashes.slice(Number(index) << height, (Number(index) + 1) << height)),
    ),
  )
  return formatTlogProof({
    index: BigInt(index),
    entry: entries[index] ?? Buffer.alloc(0),
    proof,
    checkpoint,
  })
}

test('a file proves its entry to whoever has the key of the log', async () => {
  for (const index of [0, 1, 255, 256, 511, 699]) {
    const proven = openTlogProof(Buffer.from(await proofOf(index)), verifier)
    expect(proven).toMatchObject({ index: BigInt(index), checkpoint: { size: 700n, origin: signer.name } })
    expect(Buffer.from(proven.entry)).toEqual(entries[index])
  }
})

test('it begins as the specification says', async () => {
  const [first, extra, index, hash] = (await proofOf(3)).split('\n')
  expect([first, extra, index]).toEqual(['c2sp.org/tlog-proof@v1', 'extra ZW50cnkgMw==', 'index 3'])
  expect(Buffer.from(hash ?? '', 'base64')).toEqual(Buffer.from(tree.leafHashes[2] ?? []))
})

test('another entry, index, hash or checkpoint is refused', async () => {
  const text = await proofOf(300)
  const change = (from: string | RegExp, to: string): Buffer => Buffer.from(text.replace(from, to))
  const other = Buffer.from('entry 301').toString('base64')
  for (const [bytes, code] of [
    [change(/^extra .*$/m, `extra ${other}`), 'AUDIT_NOT_INCLUDED'],
    [change('index 300', 'index 301'), 'AUDIT_NOT_INCLUDED'],
    [change('index 300', 'index 0300'), 'AUDIT_BAD_PROOF'],
    [change(/^index 300\n.*\n/m, 'index 300\n'), 'AUDIT_NOT_INCLUDED'],
    [change('\n700\n', '\n701\n'), 'AUDIT_BAD_SIGNATURE'],
    [change('tlog-proof@v1', 'tlog-proof@v2'), 'AUDIT_BAD_PROOF'],
    [change(/^extra .*\n/m, ''), 'AUDIT_BAD_PROOF'],
  ] as const)
    expect(() => openTlogProof(bytes, verifier), code).toThrow(expect.objectContaining({ code }))
  const stranger = generateKeyPairSync('ed25519').privateKey
  const theirs = parseVerifierKey(encodeVerifierKey(signer.name, stranger))
  expect(() => openTlogProof(Buffer.from(text), theirs)).toThrow(
    expect.objectContaining({ code: 'AUDIT_BAD_SIGNATURE' }),
  )
})

test('no single changed byte passes, and whatever bytes come are parsed or refused with a code', async () => {
  const bytes = Buffer.from(await proofOf(123))
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const changed = Buffer.from(bytes)
      changed[at] = (changed[at] ?? 0) ^ flip
      expect(() => openTlogProof(changed, verifier)).toThrow(
        expect.objectContaining({ code: expect.stringMatching(/^AUDIT_/) }),
      )
    }),
  )
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.string().map((text) => Buffer.from(text)),
      ),
      (junk) => {
        expect(() => parseTlogProof(junk)).toThrow(expect.objectContaining({ code: 'AUDIT_BAD_PROOF' }))
      },
    ),
  )
})
