import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { encodeTrace } from '#core/block/boot-trace.ts'

const run = promisify(execFile)
const trustcast = join(import.meta.dirname, '../../../../trustcast')
let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'image-trace-'))
})

afterEach(() => rm(folder, { recursive: true }))

const at = (name: string): string => join(folder, name)

async function image(...words: readonly string[]): Promise<Record<string, unknown>> {
  const env = { ...process.env, TRUSTCAST_STORE: at('store'), TRUSTCAST_IMAGES: at('keys') }
  const { stdout } = await run(trustcast, ['image', ...words, '--json'], { env })
  return JSON.parse(stdout) as Record<string, unknown>
}

test('giving a trace is finished after it was interrupted, and only to what was made here', async () => {
  await writeFile(at('disk.raw'), Buffer.alloc(1_048_576, 1))
  await writeFile(at('trace'), encodeTrace({ ranges: [{ offset: 0, length: 4096, atMs: 1 }] }))
  const imported = await image('import', at('disk.raw'), 'disk:1')
  await cp(at('store'), at('store-before'), { recursive: true })
  const { manifest } = await image('trace', 'disk:1', at('trace'))
  expect(manifest).not.toBe(imported['manifest'])
  // As if it had been killed when the account knew of the new image, and the store did not.
  await rm(at('store'), { recursive: true })
  await cp(at('store-before'), at('store'), { recursive: true })
  expect(await image('inspect', 'disk:1')).toMatchObject({
    manifest: imported['manifest'],
    isMadeHere: false,
  })
  expect(await image('trace', 'disk:1', at('trace'))).toMatchObject({ manifest })
  expect(await image('inspect', 'disk:1')).toMatchObject({ manifest, isMadeHere: true })
  const trace = createHash('sha256')
    .update(await readFile(at('trace')))
    .digest('hex')
  await writeFile(at(`store/blobs/sha256/${trace}`), 'altered')
  await expect(image('verify', 'disk:1')).rejects.toMatchObject({
    stderr: expect.stringMatching(/^BLOB_WRONG_ANSWER: /),
  })
  await rm(at('keys'), { recursive: true })
  await expect(image('trace', 'disk:1', at('trace'))).rejects.toMatchObject({
    stderr: expect.stringContaining('was not made by this account'),
  })
})
