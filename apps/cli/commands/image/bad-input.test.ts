import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { access, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { buildVhd } from '#core/image/vhd/vhd.fixture.ts'

/** What is wrong with a disk or with a store is said, and nothing is left of it: no blob, no file. */
const run = promisify(execFile)
const trustcast = join(import.meta.dirname, '../../../../trustcast')
const mebibyte = 1_048_576
let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bad-input-'))
})

afterEach(() => rm(folder, { recursive: true }))

const at = (name: string): string => join(folder, name)

function image(...words: readonly string[]) {
  const env = { ...process.env, TRUSTCAST_STORE: at('store'), TRUSTCAST_IMAGES: at('keys') }
  return run(trustcast, ['image', ...words], { env })
}

const blobs = (): Promise<string[]> => readdir(at('store/blobs/sha256')).catch(() => [])

test('of a disk whose table is bad at its end, nothing is stored', async () => {
  await writeFile(
    at('bad.vhd'),
    largeVhd((table) => table.setUint32(1535 * 4, 0x0fff_ffff)),
  )
  await expect(image('import', at('bad.vhd'), 'disk:1')).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/IMAGE_BLOCK_OUTSIDE.*[^]*Copy the file again/u),
  })
  expect(await blobs()).toEqual([])
  await writeFile(
    at('good.vhd'),
    largeVhd(() => {}),
  )
  await image('import', at('good.vhd'), 'disk:1')
  expect((await blobs()).length).toBeGreaterThan(3)
})

test('of an altered store nothing is exported, and it is not called whole', async () => {
  await writeFile(at('disk.raw'), randomBytes(2 * mebibyte))
  await image('import', at('disk.raw'), 'disk:1')
  for (const name of await blobs()) {
    const path = join(at('store/blobs/sha256'), name)
    if ((await stat(path)).size < mebibyte) continue
    const bytes = await readFile(path)
    bytes[mebibyte] = bytes[mebibyte]! ^ 1
    await writeFile(path, bytes)
  }
  const refused = { code: 1, stderr: expect.stringContaining('ARTIFACT_WRONG_CHUNK') }
  for (const format of ['raw', 'vhd', 'vhd-fixed']) {
    await expect(image('export', 'disk:1', at('out'), '--format', format)).rejects.toMatchObject(refused)
    await expect(access(at('out'))).rejects.toThrow('ENOENT')
  }
  await expect(image('verify', 'disk:1')).rejects.toMatchObject(refused)
})

/** A sparse disk of 3 GiB: more packs than one of what no compression makes smaller, in its first blocks. */
function largeVhd(change: (table: DataView) => void): Uint8Array {
  const blockBytes = 2 * mebibyte
  const sectors = new Map(Array.from({ length: (8 * blockBytes) / 512 }, (_, sector) => [sector, 1] as const))
  const file = buildVhd({ uniqueId: crypto.randomUUID(), sizeBytes: 3072 * mebibyte, blockBytes, sectors })
  const tableAt = 1536
  const blocksAt = tableAt + 1536 * 4
  for (let block = 0; block < 8; block++)
    file.set(randomBytes(blockBytes), blocksAt + block * (512 + blockBytes) + 512)
  change(new DataView(file.buffer, tableAt))
  return file
}
