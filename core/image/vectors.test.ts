import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { z } from 'zod'
import { isCoded } from '#core/errors/coded-error.ts'
import { ImageError } from './errors.ts'
import { detectFormat, openVhd, openVhdx } from './index.ts'
import { memorySource } from './memory.fixture.ts'
import { withChecksum } from './vhd/footer.ts'
import { resignVhdx } from './vhdx/vhdx.fixture.ts'

const edit = z.strictObject({ at: z.int(), hex: z.string() })
const listing = z.strictObject({
  good: z.array(
    z.strictObject({
      file: z.string(),
      format: z.enum(['vhd', 'vhdx']),
      sizeBytes: z.int(),
      sha256: z.string(),
    }),
  ),
  broken: z.array(
    z.strictObject({ name: z.string(), file: z.string(), edits: z.array(edit), code: z.string() }),
  ),
})
type Edit = z.infer<typeof edit>

const readVector = (name: string): Buffer =>
  readFileSync(new URL(`../../vectors/image/${name}`, import.meta.url))
const vectors = listing.parse(JSON.parse(readVector('vectors.json').toString()))
const unpacked = new Map(vectors.good.map(({ file }) => [file, new Uint8Array(gunzipSync(readVector(file)))]))
type Format = keyof typeof openers
const openers = { vhd: openVhd, vhdx: openVhdx }

function edited(file: string, edits: readonly Edit[]): Uint8Array {
  const bytes = Uint8Array.from(unpacked.get(file) ?? [])
  for (const { at, hex } of edits) bytes.set(Buffer.from(hex, 'hex'), at)
  return bytes
}

function formatOf(name: string): Format {
  return vectors.good.find(({ file }) => file === name)?.format ?? 'vhd'
}

/** Reads all of a small disk and the borders of a large one. */
async function codeOf(format: Format, bytes: Uint8Array): Promise<string | undefined> {
  try {
    await using disk = await openers[format](memorySource(bytes))
    const window = Math.min(Number(disk.sizeBytes), 16 << 20)
    for (const offset of [0n, disk.sizeBytes - BigInt(window)]) {
      await disk.extents(offset, window)
      await disk.read(offset, window)
    }
    return undefined
  } catch (error) {
    if (!isCoded(error)) throw error
    // Whoever named a bad file is told what to do about it.
    if (error instanceof ImageError) expect(error.remedy, error.code).toMatch(/\.$/u)
    return error.code
  }
}

test.each(vectors.good)(
  '$file is the disk that it was made to be',
  async ({ file, format, sizeBytes, sha256 }) => {
    const bytes = edited(file, [])
    expect(await detectFormat(memorySource(bytes))).toBe(format)
    await using disk = await openers[format](memorySource(bytes))
    expect(disk.sizeBytes).toBe(BigInt(sizeBytes))
    const content = await disk.read(0n, sizeBytes)
    expect(createHash('sha256').update(content).digest('hex')).toBe(sha256)
  },
)

test.each(vectors.broken)('refused with $code: $name', async ({ file, edits, code }) => {
  expect(await codeOf(formatOf(file), edited(file, edits))).toBe(code)
})

/** Where the structures are: all sectors that are neither zeros nor one byte throughout, as the data is. */
function structureSectors(bytes: Uint8Array): number[] {
  const starts: number[] = []
  for (let at = 0; at < bytes.length; at += 512) {
    const sector = bytes.subarray(at, at + 512)
    if (sector.some((byte) => byte !== sector[0])) starts.push(at)
  }
  return starts
}

/** A change that its checksum hides, so that it comes as far as the fields. */
function resign(format: Format, bytes: Uint8Array): void {
  if (format === 'vhdx') resignVhdx(bytes)
  else resignVhd(bytes)
}

function resignVhd(bytes: Uint8Array): void {
  const last = bytes.length - 512
  for (const [at, length, checksumAt] of [
    [0, 512, 64],
    [512, 1024, 36],
    [last, 512, 64],
  ] as const) {
    if (at + length <= bytes.length && at >= 0)
      bytes.set(withChecksum(bytes.subarray(at, at + length), checksumAt), at)
  }
}

test.each(vectors.good)(
  '$file with any changes or cut anywhere reads, or fails with a code',
  async ({ file, format }) => {
    const starts = structureSectors(unpacked.get(file) ?? new Uint8Array())
    const change = fc.record({
      sector: fc.constantFrom(...starts),
      within: fc.nat(511),
      bytes: fc.oneof(
        fc.uint8Array({ minLength: 1, maxLength: 8 }),
        fc.constantFrom(new Uint8Array(8), new Uint8Array(8).fill(0xff)),
      ),
    })
    await fc.assert(
      fc.asyncProperty(
        fc.array(change, { maxLength: 4 }),
        fc.boolean(),
        fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { freq: 8 }),
        async (changes, isSigned, cut) => {
          const bytes = edited(file, [])
          for (const { sector, within, bytes: value } of changes) {
            bytes.set(value.subarray(0, bytes.length - sector - within), sector + within)
          }
          if (isSigned) resign(format, bytes)
          await codeOf(format, cut === null ? bytes : bytes.subarray(0, Math.floor(bytes.length * cut)))
        },
      ),
      { numRuns: 150 },
    )
  },
)

test('arbitrary bytes are refused with a code', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 4096 }), async (bytes) => {
      expect(await detectFormat(memorySource(bytes))).toBe('raw')
      for (const opener of Object.values(openers)) {
        await expect(opener(memorySource(bytes))).rejects.toSatisfy(isCoded)
      }
    }),
  )
})
